"""The pictures: each is drawn where there is something to draw, says in words what it shows, and has units."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.image import imread

from evaluation.report import plots
from evaluation.rows import SearchRecord
from evaluation.statistics import Group, groups
from tests.evaluation.made import row, rows, search, trial

TRIALS = [trial("000", 5.0, 4.0, "base"), trial("110", 3.0, 9.0), trial("111", 2.0, 6.0), trial("100", None, None)]


def everything() -> tuple[Group, list[SearchRecord]]:
    samples = {"per_sample": {"rouge_l": [1.0, 9.0, 5.0]}}
    made = rows("base", [4.0, 9.0], **samples) + rows("milp", [9.0, 4.0], layers="110", trials=4, **samples)
    made += rows("random", [5.0, 5.0], trials=4) + rows("milp", [3.0, 3.0], variant="history=0.25")
    made += [row("a_$x$_<b>", "milp", 7.0, layers=None, trials=4), row("a_$x$_<b>", "base", 6.0)]
    (group,) = groups(made)
    return group, [
        search("u0", TRIALS, 1),
        search("u$1", TRIALS, 1),
        search("u0", TRIALS, 1, method="random"),
        search("u0", [trial("001", 1.0, 1.0)] * 4, 0, variant="space=layer"),
    ]


def pictures(group: Group, searches: Sequence[SearchRecord]) -> dict[str, plots.Plot]:
    return {plot.name: plot for plot in plots.all_plots(group, searches)}


def test_everything_measured_is_drawn_and_said_in_words() -> None:
    found = pictures(*everything())
    assert list(found) == ["gains", "trials", "history", "layers", "fronts"]
    for plot in found.values():
        picture = imread(io.BytesIO(plot.png))
        assert picture.shape[1] > 400
        assert float(np.std(picture[..., 0])) > 0.01  # not an empty sheet
        assert "ubuntu_irc on small" in plot.title
        assert plot.alt
        assert plot.note
    assert "3 users" in found["gains"].alt
    assert "1 lose" in found["gains"].alt
    assert "0: 67 %, 1: 67 %, 2: 0 %" in found["layers"].alt
    # One layer of three in the trials of the base alone; what variants tried does not count.
    assert found["layers"].alt.endswith("tried: 0: 75 %, 1: 50 %, 2: 25 %.")
    assert found["fronts"].alt.startswith("2 panels")


def test_only_a_loss_is_a_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[plots.Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure) or b"")
    (group,) = groups([*rows("milp", [3.0, 4.0, 5.0]), *rows("base", [4.0, 4.0, 4.0])])
    plots.user_gains(group)
    (axes,) = drawn[0].axes
    marks = [line.get_marker() for line in axes.get_lines() if line.get_marker() in ("o", "X")]
    assert marks == ["X", "o", "o"]


def test_the_same_numbers_make_the_same_picture() -> None:
    assert pictures(*everything())["gains"].png == pictures(*everything())["gains"].png


def test_nothing_is_drawn_of_what_was_not_measured() -> None:
    (group,) = groups(rows("base", [1.0]))
    assert plots.all_plots(group, []) == []
    (group,) = groups(rows("milp", [1.0]))
    assert plots.all_plots(group, [search("u0", TRIALS, 1, set="another")]) == []


def test_searches_beyond_a_dozen_are_counted_and_not_drawn() -> None:
    group, _ = everything()
    plot = plots.pareto_fronts(group, [search(f"u{number}", TRIALS, 1) for number in range(14)])
    assert plot is not None
    assert plot.alt.startswith("12 panels")
    assert "2 more searches are not drawn." in plot.note


def test_every_axis_says_what_it_measures_in_which_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    drawn = plots._png

    def kept(figure: plots.Figure) -> bytes:
        for axes in figure.axes:
            labels.extend((axes.get_xlabel(), axes.get_ylabel()))
        labels.extend((figure.get_supxlabel(), figure.get_supylabel()))
        return drawn(figure)

    monkeypatch.setattr(plots, "_png", kept)
    plots.all_plots(*everything())
    assert {text for text in labels if text} == {
        "ROUGE-L of MiLP above Base, points of 100",
        "User",
        "Trials",
        "ROUGE-L, 0 to 100",
        "Share of the history that is learned, percent",
        "ROUGE-L on test, 0 to 100",
        "Layer, 0 is nearest the input",
        "Share of configurations, percent",
        "Loss on validation, nats per response token (less is better)",
        "ROUGE-L on validation, 0 to 100",
    }


def test_matplotlib_is_not_loaded_before_a_picture_is_wanted() -> None:
    program = (
        "import sys, evaluation.report.writing, evaluation.tables.documents, evaluation.report.summary;"
        "import evaluation.judge.asking, evaluation.judge.labels;"
        "print(sorted({'matplotlib', 'scipy', 'torch', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
