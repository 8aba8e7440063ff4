"""The report of a run's folder: a self-contained page, its Markdown, pictures, numbers, from any subset of a grid."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.judge.judgements import Judgement
from evaluation.judge.judgements import append as append_judgement
from evaluation.judge.labels import write_sheet
from evaluation.report.writing import main, write_report
from evaluation.results_files import read_file
from evaluation.rows import Row, SearchRecord, append
from tests.evaluation.made import keep_answers, row, rows, search, trial

EVIL = '<script>alert("x")</script> & |*_[l](http://x)'
VOID = {"meta", "img"}
TRIALS = [trial("00", 5.0, 4.0, "base"), trial("11", 3.0, 9.0)]


class Page(HTMLParser):
    """Text, tags, addresses and pictures' words of a page; fails on a tag that another closes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str | None] = []
        self.titles: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in given]
        if tag == "img":
            self.alts.append(given.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.titles if self.open[-1:] == ["title"] else self.text).append(data.strip())

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def run(folder: Path, rows_: list[Row], searches: list[SearchRecord]) -> Path:
    folder.mkdir(exist_ok=True)
    for one in [*rows_, *searches]:
        append(folder, one)
    return folder


def full(folder: Path, name: str = "u0", base: str = "small") -> Path:
    made = [
        row(name, "base", 4.0, base=base),
        row(name, "milp", 9.0, base=base, layers="11", trials=2, activated=True, commit="abc123"),
    ]
    made += [
        row("u1", "base", 9.0, base=base),
        row("u1", "milp", 4.0, base=base, layers="01", trials=2, activated=False),
    ]
    return run(folder, made, [search(name, TRIALS, 1, base=base)])


def page(folder: Path) -> Page:
    write_report(folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_one_file_that_asks_nothing_of_a_network(tmp_path: Path) -> None:
    shown, source = page(full(tmp_path)), (tmp_path / "report.html").read_text()
    assert shown.addresses
    for address in shown.addresses:
        assert base64.b64decode(address.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert not shown.tags & {"script", "link", "iframe", "object", "base"}
    assert "url(" not in source
    assert "@import" not in source
    assert "http" not in re.sub(r"base64,[^\"]*", "", source)


def test_the_page_has_a_title_words_for_every_picture_and_both_colour_schemes(tmp_path: Path) -> None:
    shown, source = page(full(tmp_path)), (tmp_path / "report.html").read_text()
    assert shown.titles == ["What personalising buys: ubuntu_irc"]
    assert len(shown.alts) == 4
    assert all(shown.alts)
    assert "prefers-color-scheme: dark" in source
    assert 'lang="en"' in source


def test_plain_words_come_first_then_tables_then_pictures(tmp_path: Path) -> None:
    words = page(full(tmp_path)).words
    order = [
        words.index(text)
        for text in ("In plain words", "MiLP loses ROUGE-L to Base for 1 of 2 users: u1 by 5.00", "Tables", "Pictures")
    ]
    assert order == sorted(order)
    assert "measured at abc123" in words


def test_names_from_outside_are_text_and_no_markup(tmp_path: Path) -> None:
    shown = page(full(tmp_path, name=EVIL, base=EVIL))
    assert not shown.tags & {"script", "a"}
    assert EVIL in shown.words
    assert not [address for address in shown.addresses if not address.startswith("data:")]
    text = (tmp_path / "report.md").read_text()
    assert "<script>" not in text
    assert "](http" not in text.replace(r"\](http", "")
    for table in re.findall(r"^\|(?:.*\n\|)*.*", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_the_markdown_names_pictures_that_are_there_and_no_others_are(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "99-old.png").write_bytes(b"of an earlier report")
    write_report(full(tmp_path))
    text = (tmp_path / "report.md").read_text()
    named = set(re.findall(r"\]\(plots/([\w.-]+)\)", text))
    assert named == {path.name for path in (tmp_path / "plots").iterdir()}
    assert len(named) == 4
    assert text.index("## In plain words") < text.index("## Tables") < text.index("## Pictures")


def test_the_numbers_lie_beside_it_in_the_committed_form(tmp_path: Path) -> None:
    write_report(full(tmp_path))
    assert [(found.method, found.user, found.rouge_l) for found in read_file(tmp_path / "results.json")] == [
        ("base", "u0", 4.0),
        ("base", "u1", 9.0),
        ("milp", "u0", 9.0),
        ("milp", "u1", 4.0),
    ]


def test_a_search_written_twice_is_drawn_once(tmp_path: Path) -> None:
    once = full(tmp_path / "once")
    twice = run(full(tmp_path / "twice"), [], [search("u0", TRIALS, 1)])
    assert page(twice).alts == page(once).alts


def test_a_measurement_written_twice_counts_once(tmp_path: Path) -> None:
    run(tmp_path, rows("base", [1.0]) + rows("milp", [9.0]) + rows("milp", [3.0]), [])
    assert "3.00 against 1.00" in page(tmp_path).words


@pytest.mark.parametrize(
    "made", [[], rows("base", [1.0]), rows("milp", [1.0]), rows("milp", [1.0], variant="space=num")]
)
def test_any_part_of_a_grid_has_a_report_that_says_what_is_missing(tmp_path: Path, made: list[Row]) -> None:
    words = page(run(tmp_path, made, [])).words
    assert "nan" not in words.lower().split()
    assert "Not measured" in words or "Nothing was measured" in words
    assert "No judge model was asked" in words


def test_the_judge_and_peoples_labels_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full(tmp_path)
    keep_answers(tmp_path, "u0", "milp", ["ours", "ours 2"])
    keep_answers(tmp_path, "u0", "base", ["theirs", "theirs 2"])
    write_sheet(tmp_path, 2, [("milp", "base")])
    sheet = tmp_path / "labels.csv"
    filled = [f"{line}{'A' if number else ''}" for number, line in enumerate(sheet.read_text().splitlines())]
    sheet.write_text("\n".join(filled) + "\n")
    for sample in (0, 1):
        append_judgement(
            tmp_path, Judgement("ubuntu_irc", "small", "u0", 0, sample, "milp", "base", ["first", "first"], "j")
        )
    words = page(tmp_path).words
    assert "has a win rate of 100.0 %: 2 won" in words
    assert "j says what people say in " in words
    assert "2 labelled items" in words
    (tmp_path / "labels_key.json").unlink()
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"without labels_key\.json, which says whose answer is A: put it back"):
        main()
