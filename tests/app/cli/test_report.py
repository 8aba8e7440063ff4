"""The report's page, picture, example queries and load command, from a job as the API gives it."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from app.cli.examples import Answered, evenly, test_part
from app.cli.figure import draw_search, search_figure
from app.cli.histories import History
from app.cli.page import write_page
from app.cli.published import Published, load_command
from app.cli.search import Search

VOID = {"meta", "img", "br", "link", "input", "hr"}
PUBLISHED = Published("v_ab", Path("store/v_ab"), "python -c 'print(1)'")
EXAMPLE = Answered("Is <b>this</b> \x00fine?".replace("\x00", ""), "Yes & no.", "Base says 1 < 2.", "Ours.")

test_part.__test__ = False  # type: ignore[attr-defined] # a function under test, not a test


class Page(HTMLParser):
    """Text, tags and addresses of a page; fails on a tag that is closed by another."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.classes: list[tuple[str, str]] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("src", "href") if name in given]
        self.classes.append((tag, given.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(tmp_path: Path, job: dict[str, Any], trials: list[dict[str, Any]], published: Published | None) -> Page:
    search = Search.of(job, trials)
    target = tmp_path / "anna.html"
    write_page(
        target,
        history=History("anna", "Has <diabetes>.", []),
        job=job,
        search=search,
        examples=[EXAMPLE],
        published=published,
        picture=b"\x89PNG not really",
    )
    return Page(target.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_from_elsewhere(
    tmp_path: Path, job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    shown = page(tmp_path, job, trials, PUBLISHED)
    (address,) = shown.addresses
    assert base64.b64decode(address.removeprefix("data:image/png;base64,")) == b"\x89PNG not really"
    assert "script" not in {tag for tag, _ in shown.classes}


def test_the_page_shows_test_table_gate_winner_answers_and_where_the_version_lies(
    tmp_path: Path, job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    words = page(tmp_path, job, trials, PUBLISHED).words
    for said in (
        "Personalised 23.4 21.4 to 25.4 18.1 16.6 to 19.6",
        "Gate Passed The version is published, and it is active",
        "Best lower bound of ROUGE-L.",
        "4 LoRAs of rank 32 on every feed-forward projection of the 11 marked layers (of 12)",
        "Has <diabetes>.",
        "Is <b>this</b> fine?",
        "What was really answered Yes & no.",
        "python -c 'print(1)'",
        "All 14 trials of the budget are done.",
    ):
        assert said in words


def test_every_trial_has_a_row_with_its_layers_drawn_as_cells(
    tmp_path: Path, job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    shown = page(tmp_path, job, trials, PUBLISHED)
    cells = [name for tag, name in shown.classes if tag == "i"]
    assert len(cells) == 14 * 12
    assert cells.count("on") == sum(row["layers"].count("1") for row in trials)
    assert "6 initial 1 × 96 4,202,496 – – 11.4 The loss became NaN after 12 steps <script>." in shown.words
    assert shown.words.count("front") >= 3


def test_the_winners_layers_are_drawn_one_cell_a_layer(
    tmp_path: Path, job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    text = (page(tmp_path, job, trials, PUBLISHED), (tmp_path / "anna.html").read_text())[1]
    stack = text[text.index('<div class="stack"') :]
    drawn = re.findall(r'<span class="(on)?" title="layer (\d+)">', stack[: stack.index("</div>")])
    assert drawn == [("on", str(i)) for i in range(11)] + [("", "11")]


def test_a_win_of_the_base_makes_a_page_too(
    tmp_path: Path, base_won: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    words = page(tmp_path, base_won, trials, None).words
    assert "Nothing to decide" in words
    assert "None: the base itself won, so there is nothing to publish." in words


def test_the_picture_is_a_png_of_some_size_and_the_same_search_draws_the_same(
    job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    picture = draw_search(Search.of(job, trials), "anna")
    assert imread(io.BytesIO(picture), format="png").shape == (896, 1440, 4)
    assert draw_search(Search.of(job, trials), "anna") == picture
    trials[3]["rouge_l"] += 3
    assert draw_search(Search.of(job, trials), "anna") != picture


def test_a_base_far_from_the_trials_stands_beyond_a_break_of_the_axis(
    job: dict[str, Any], trials: list[dict[str, Any]]
) -> None:
    (panel,) = search_figure(Search.of(job, trials), "anna").axes
    assert panel.get_xlim()[1] > 2.61
    trials[0]["loss"] = 5.75
    left, right = search_figure(Search.of(job, trials), "anna").axes
    assert left.get_xlim()[1] < 3 < right.get_xlim()[0] < 5.75 < right.get_xlim()[1]


def test_a_winner_that_is_the_default_lora_is_marked_as_both(job: dict[str, Any], trials: list[dict[str, Any]]) -> None:
    marks = len(search_figure(Search.of(job, trials), "anna").axes[0].collections)
    job["report"]["winner"]["trial"] = 1
    assert len(search_figure(Search.of(job, trials), "anna").axes[0].collections) == marks + 1


@pytest.mark.parametrize("kept", [1, 2])
def test_a_search_of_hardly_any_trials_can_be_drawn(
    job: dict[str, Any], trials: list[dict[str, Any]], kept: int
) -> None:
    job["report"]["winner"]["trial"] = 0
    job["report"]["pareto"] = [0]
    assert draw_search(Search.of(job, trials[:kept]), "anna").startswith(b"\x89PNG")


def test_the_test_part_is_what_follows_train_and_validation() -> None:
    samples = [{"query": str(i)} for i in range(25)]
    report = {"samples": {"train": 12, "validation": 4, "test": 4}}
    assert [s["query"] for s in test_part(samples, report)] == ["16", "17", "18", "19"]


@pytest.mark.parametrize(("size", "chosen"), [(3, [0, 1, 2]), (4, [0, 2, 3]), (24, [4, 12, 20]), (2, [0, 1]), (0, [])])
def test_example_queries_are_spread_over_the_test_part(size: int, chosen: list[int]) -> None:
    samples = [{"number": i} for i in range(size)]
    assert [s["number"] for s in evenly(samples, 3)] == chosen


def test_the_load_command_names_base_and_folder_and_is_one_shell_line(tmp_path: Path) -> None:
    folder = tmp_path / "it's a version"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    command = load_command(folder)
    assert shlex.split(command)[:2] == [sys.executable, "-c"]
    assert json.dumps(str(folder)) in shlex.split(command)[2]
    assert 'from_pretrained("some/base")' in command
    assert "\n" not in command


def test_an_archive_with_a_path_in_it_is_not_unpacked(tmp_path: Path) -> None:
    from app.cli.errors import CliError
    from app.cli.published import unpack

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../evil", "x")
    with pytest.raises(CliError, match="outside its folder"):
        unpack(content.getvalue(), tmp_path / "v")
    assert list(tmp_path.iterdir()) == []
