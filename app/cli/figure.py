"""The search as a picture: every trial with its standard errors, the Pareto front, base, default LoRA and winner.

Knows a search's data only. Imports matplotlib, so it is imported when a picture is wanted.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.cli.search import Search, Trial

_INK, _MUTED, _GRID = "#1f2933", "#6b7785", "#e6eaee"
_FRONT, _INITIAL, _PROPOSED = "#0f766e", "#94a3b8", "#3b82c4"
_BASE, _DEFAULT, _WINNER = "#1f2933", "#b45309", "#d6336c"


def draw_search(search: Search, user_id: str) -> bytes:
    """A PNG: loss to the right is worse, ROUGE-L upwards is better, so the front runs along the upper left."""
    figure = Figure(figsize=(9.0, 5.6), dpi=160, facecolor="white", layout="constrained")
    axes = figure.subplots()
    _style(axes)
    _draw_front(axes, search)
    _draw_trials(axes, search)
    _label_front(axes, search)
    failed = sum(trial.loss is None for trial in search.trials)
    note = f", {failed} failed" if failed else ""
    axes.set_title(f"Search for {user_id}", loc="left", fontsize=13, fontweight="bold", color=_INK, pad=24)
    axes.text(
        0,
        1.025,
        f"{len(search.trials)} trials{note}; scores on validation, bars are one standard error; numbers are trials",
        transform=axes.transAxes,
        fontsize=9,
        color=_MUTED,
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, labelcolor=_INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _style(axes: Axes) -> None:
    axes.set_xlabel("Loss, nats per response token  (better ←)", color=_INK)
    axes.set_ylabel("ROUGE-L  (better ↑)", color=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c5ccd3")


def _draw_front(axes: Axes, search: Search) -> None:
    front = sorted((loss, rouge) for trial, loss, rouge in search.scored if trial.on_front)
    if front:
        losses, rouges = zip(*front, strict=True)
        # A staircase: up to the next point of the front, no trial with so low a loss scores more.
        axes.step(losses, rouges, where="post", color=_FRONT, linewidth=2, alpha=0.85, label="Pareto front", zorder=2)


def _draw_trials(axes: Axes, search: Search) -> None:
    for marker in _markers(search):
        label, colour, shape, size, members = marker
        if not members:
            continue
        losses = [loss for _, loss, _ in members]
        rouges = [rouge for _, _, rouge in members]
        axes.errorbar(
            losses,
            rouges,
            xerr=[trial.loss_se for trial, _, _ in members],
            yerr=[trial.rouge_l_se for trial, _, _ in members],
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            alpha=0.35,
            zorder=1,
        )
        axes.scatter(
            losses, rouges, s=size, c=colour, marker=shape, edgecolors="white", linewidths=0.9, label=label, zorder=3
        )


_Members = list[tuple[Trial, float, float]]


def _markers(search: Search) -> list[tuple[str, str, str, int, _Members]]:
    """(label, colour, shape, size, members); the winner is drawn last, over what it also is."""

    def of(origin: str) -> _Members:
        return [point for point in search.scored if point[0].origin == origin]

    return [
        ("Initial trial", _INITIAL, "o", 52, of("initial")),
        ("Proposed trial", _PROPOSED, "o", 52, of("proposed")),
        ("Base", _BASE, "s", 74, of("base")),
        ("Default LoRA", _DEFAULT, "D", 66, of("default")),
        ("Winner", _WINNER, "*", 300, [point for point in search.scored if point[0].is_winner]),
    ]


def _label_front(axes: Axes, search: Search) -> None:
    for trial, loss, rouge in search.scored:
        if trial.on_front or trial.is_winner:
            axes.annotate(
                str(trial.number),
                (loss, rouge),
                xytext=(-8, 7),
                textcoords="offset points",
                ha="right",
                fontsize=8.5,
                color=_INK,
                zorder=4,
            )
