"""Pictures of an evaluation: fronts, quality against trials and history, chosen layers, and each user's gain.

Knows rows and search records only. Imports matplotlib, so it is imported when pictures are wanted.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.names import label
from evaluation.report import series
from evaluation.rows import SearchRecord
from evaluation.statistics import Estimate, Group

# Okabe and Ito's colours, which people who see no red or no green tell apart; shape or order tells them apart too.
_BLUE, _ORANGE, _GREEN, _RED, _SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9"
_INK, _MUTED, _GRID, _SPINE = "#1f2933", "#5b6774", "#e6eaee", "#c5ccd3"
_STYLES = {
    "base": (_INK, "s"),
    "dictionary_memory": (_SKY, "v"),
    "malp": (_GREEN, "^"),
    "default_lora": (_ORANGE, "D"),
    "default_averaged": (_ORANGE, "d"),
    "random": (_RED, "P"),
    "milp": (_BLUE, "o"),
}
_OTHER = (_MUTED, "X")
_PANELS = 12
"""Searches drawn in one picture of fronts: more would be too small to read."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and what it shows: `alt` for whoever does not see it, `note` below it. `name` is a file's."""

    name: str
    title: str
    alt: str
    note: str
    png: bytes


def all_plots(group: Group, searches: Sequence[SearchRecord]) -> list[Plot]:
    """Every picture that there is something to draw for."""
    own = [search for search in searches if (search.set, search.base) == (group.name, group.base)]
    made = (
        user_gains(group),
        quality_against_trials(group, own),
        quality_against_history(group),
        chosen_layers(group, own),
        pareto_fronts(group, own),
    )
    return [plot for plot in made if plot is not None]


def user_gains(group: Group) -> Plot | None:
    """Each user's gain of MiLP over the set's best baseline, sorted, with intervals over the test samples."""
    found = series.gains(group)
    if found is None:
        return None
    baseline, gains = found
    figure, axes = _figure(height=max(2.6, 0.9 + 0.24 * len(gains)))
    for place, gain in enumerate(gains):
        colour, mark = (_RED, "X") if gain.mean < 0 else (_BLUE, "o")
        if gain.low is not None and gain.high is not None:
            axes.plot([gain.low, gain.high], [place, place], color=colour, linewidth=1.6, alpha=0.55)
        axes.plot([gain.mean], [place], mark, color=colour, markersize=6)
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_yticks(range(len(gains)), [_plain(gain.user) for gain in gains], fontsize=8)
    axes.set_xlabel(f"ROUGE-L of MiLP above {label(baseline)}, points of 100", color=_INK)
    axes.set_ylabel("User", color=_INK)
    lost = sum(gain.mean < 0 for gain in gains)
    return Plot(
        "gains",
        f"What each user gains: {group.name} on {group.base}",
        f"Dots of {len(gains)} users, sorted: MiLP's ROUGE-L above {label(baseline)}; {lost} lose.",
        "Dots are means over seeds; lines 95 % bootstrap intervals over a user's own test samples, where these were "
        "kept. A cross is a loss.",
        _png(figure),
    )


def quality_against_trials(group: Group, searches: Sequence[SearchRecord]) -> Plot | None:
    """The best validation ROUGE-L so far, and what the winners reach on the test part."""
    curves = {
        method: found
        for method in ("milp", "random")
        if (
            found := series.best_so_far(
                [search for search in searches if search.method == method and not search.variant]
            )
        )
    }
    points = {method: found for method in ("milp", "random") if (found := series.winners_by_trials(group, method))}
    if not curves and not points:
        return None
    figure, axes = _figure()
    for method, curve in curves.items():
        numbers, means, lows, highs = _columns(curve)
        axes.plot(
            numbers, means, color=_style(method)[0], linewidth=2, label=f"{label(method)}, validation: best so far"
        )
        axes.fill_between(numbers, lows, highs, color=_style(method)[0], alpha=0.14, linewidth=0)
    for method, found in points.items():
        _errorbars(axes, found, method, f"{label(method)}, test: the winner")
    axes.set_xlabel("Trials", color=_INK)
    axes.set_ylabel("ROUGE-L, 0 to 100", color=_INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return Plot(
        "trials",
        f"Quality against trials: {group.name} on {group.base}",
        "Lines of the best validation ROUGE-L so far by trial, and points of the winners' ROUGE-L on test.",
        "Means over users with 95 % bootstrap intervals. The best of many noisy validation scores rises by luck alone; "
        "the test part tells what is left of it.",
        _png(figure),
    )


def quality_against_history(group: Group) -> Plot | None:
    """Test ROUGE-L where only a part of the history is learned, on the users that have all parts."""
    found = series.by_history(group)
    if not found:
        return None
    figure, axes = _figure()
    for method, points in found.items():
        colour, shape = _style(method)
        shares, means, _, _ = _columns(points)
        axes.plot(shares, means, color=colour, linewidth=1.6)
        _errorbars(axes, points, method, label(method), shape)
    axes.set_xlabel("Share of the history that is learned, percent", color=_INK)
    axes.set_ylabel("ROUGE-L on test, 0 to 100", color=_INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    users = max(point.users for points in found.values() for _, point in points)
    return Plot(
        "history",
        f"Quality against history: {group.name} on {group.base}",
        "Lines of the mean ROUGE-L on test by the share of the history that is learned, one for each method.",
        f"Means over the users that were measured with every share ({users} at most), with 95 % bootstrap intervals.",
        _png(figure),
    )


def chosen_layers(group: Group, searches: Sequence[SearchRecord]) -> Plot | None:
    """How often each layer is in a winning configuration, beside how often it was tried."""
    chosen = series.layer_shares([row.layers for row in group.rows if row.method == "milp" and not row.variant])
    if not chosen:
        return None
    standard = [search for search in searches if search.method == "milp" and not search.variant]
    tried = series.layer_shares([trial.get("layers") for search in standard for trial in search.trials])
    figure, axes = _figure()
    axes.bar(range(len(chosen)), [100 * share for share in chosen], color=_BLUE, width=0.7, label="in the winners")
    if len(tried) == len(chosen):
        shares = [100 * share for share in tried]
        axes.plot(
            range(len(tried)), shares, "_", color=_ORANGE, markersize=16, markeredgewidth=3, label="in all trials"
        )
    axes.set_xticks(range(len(chosen)))
    axes.set_ylim(0, 100)
    axes.set_xlabel("Layer, 0 is nearest the input", color=_INK)
    axes.set_ylabel("Share of configurations, percent", color=_INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK, loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2)
    often, all_of_them = (
        ", ".join(f"{number}: {100 * share:.0f} %" for number, share in enumerate(shares)) for shares in (chosen, tried)
    )
    beside = f" Beside it, of all that were tried: {all_of_them}." if tried else ""
    return Plot(
        "layers",
        f"Which layers are chosen: {group.name} on {group.base}",
        f"Bars of how many winners use each layer ({often}).{beside}",
        "A winner that is the base itself uses none. Where a bar is above its mark, winners use the layer more than "
        "trials do.",
        _png(figure),
    )


def pareto_fronts(group: Group, searches: Sequence[SearchRecord]) -> Plot | None:
    """The trials of searches by loss and ROUGE-L on validation, a panel each."""
    milp = sorted(
        (search for search in searches if search.method == "milp" and not search.variant and series.scored(search)),
        key=lambda search: (search.seed, search.user),
    )
    shown = milp[:_PANELS]
    if not shown:
        return None
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.3 * lines + 0.7), dpi=140, facecolor="white", layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, search in zip(panels, shown, strict=False):
        _restrain(axes)
        _draw_search(axes, search)
    figure.supxlabel("Loss on validation, nats per response token (less is better)", fontsize=10, color=_INK)
    figure.supylabel("ROUGE-L on validation, 0 to 100", fontsize=10, color=_INK)
    left_out = f" {len(milp) - len(shown)} more searches are not drawn." if len(milp) > len(shown) else ""
    return Plot(
        "fronts",
        f"Pareto fronts: {group.name} on {group.base}",
        f"{len(shown)} panels, a search each: trials by loss and ROUGE-L, front as a staircase, winner as a star.",
        f"Circles are trials, the square is the base, the staircase the Pareto front, the star the winner.{left_out}",
        _png(figure),
    )


def _draw_search(axes: Axes, search: SearchRecord) -> None:
    points = series.scored(search)
    front = series.front(points)
    axes.step([p.loss for p in front], [p.rouge_l for p in front], where="post", color=_ORANGE, linewidth=1.8)
    for is_base, shape, colour in ((False, "o", _SKY), (True, "s", _INK)):
        some = [point for point in points if point.is_base == is_base]
        axes.scatter([p.loss for p in some], [p.rouge_l for p in some], s=16, c=colour, marker=shape, zorder=3)
    winner = [point for point in points if point.number == search.winner]
    axes.scatter([p.loss for p in winner], [p.rouge_l for p in winner], s=130, c=_BLUE, marker="*", zorder=4)
    axes.set_title(f"{_plain(search.user)}, seed {search.seed}", fontsize=8, color=_INK, loc="left")
    axes.tick_params(labelsize=7)


def _columns(points: Sequence[tuple[float, Estimate]]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Places, means and interval ends; of a mean without an interval, itself."""
    means = [point.mean for _, point in points]
    lows = [point.mean if point.low is None else point.low for _, point in points]
    highs = [point.mean if point.high is None else point.high for _, point in points]
    return [place for place, _ in points], means, lows, highs


def _errorbars(
    axes: Axes, points: Sequence[tuple[float, Estimate]], method: str, name: str, shape: str | None = None
) -> None:
    places, means, lows, highs = _columns(points)
    below = [mean - low for mean, low in zip(means, lows, strict=True)]
    above = [high - mean for mean, high in zip(means, highs, strict=True)]
    colour, own_shape = _style(method)
    axes.errorbar(
        places, means, yerr=[below, above], fmt=shape or own_shape, color=colour, capsize=3, markersize=7, label=name
    )


def _figure(height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.0, height), dpi=140, facecolor="white", layout="constrained")
    axes = figure.subplots()
    _restrain(axes)
    return figure, axes


def _restrain(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_SPINE)


def _style(method: str) -> tuple[str, str]:
    return _STYLES.get(method, _OTHER)


def _plain(text: str, most: int = 28) -> str:
    """A name as matplotlib shows it: no formula, no line break, not longer than there is room for."""
    flat = " ".join(text.split()).replace("$", r"\$")
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    # Without a date or a version in it, the same numbers make the same file.
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
