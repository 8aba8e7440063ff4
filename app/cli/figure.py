"""The search as a picture: every trial with its standard errors, the Pareto front, base, default LoRA and winner.

Knows a search's data only. Imports matplotlib, so it is imported when a picture is wanted.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.cli.search import Search, Trial

_INK, _MUTED, _GRID, _SPINE = "#1f2933", "#6b7785", "#e6eaee", "#c5ccd3"
_FRONT, _INITIAL, _PROPOSED = "#0f766e", "#94a3b8", "#3b82c4"
_BASE, _DEFAULT, _WINNER = "#1f2933", "#b45309", "#d6336c"
_FAR = 0.75
"""A base whose loss is further from the trials' than so many times their spread gets a panel of its own."""

_Point = tuple[Trial, float, float]
"""A trial with its loss and ROUGE-L."""


def draw_search(search: Search, user_id: str) -> bytes:
    """The search as a PNG."""
    picture = io.BytesIO()
    search_figure(search, user_id).savefig(picture, format="png")
    return picture.getvalue()


def search_figure(search: Search, user_id: str) -> Figure:
    """Loss to the right is worse, ROUGE-L upwards is better, so the front runs along the upper left."""
    figure = Figure(figsize=(9.0, 5.6), dpi=160, facecolor="white", layout="constrained")
    axes = _panels(figure, search)
    for panel in axes:
        _style(panel)
        _draw_front(panel, search)
        _draw_trials(panel, search)
        _label_front(panel, search)
    left = axes[0]
    left.set_ylabel("ROUGE-L  (better ↑)", color=_INK)
    left.set_xlabel("Loss, nats per response token  (better ←)", color=_INK)
    left.set_title(f"Search for {user_id}", loc="left", fontsize=13, fontweight="bold", color=_INK, pad=24)
    stopped = sum(trial.stopped_after is not None for trial in search.trials)
    failed = sum(trial.loss is None for trial in search.trials) - stopped
    note = "".join(f", {count} {what}" for count, what in ((failed, "failed"), (stopped, "stopped early")) if count)
    told = f"{len(search.trials)} trials{note}; scores on validation, bars are one standard error; numbers are trials"
    left.text(0, 1.025, told, transform=left.transAxes, fontsize=9, color=_MUTED)
    axes[-1].legend(
        *left.get_legend_handles_labels(),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
    )
    return figure


def _panels(figure: Figure, search: Search) -> list[Axes]:
    """One panel; or two with a break between them, where the base would press all trials into a corner."""
    others = [point for point in search.scored if point[0].origin != "base"]
    bases = [point for point in search.scored if point[0].origin == "base"]
    if not others or not bases:
        return [figure.subplots()]
    low, high = min(loss - t.loss_se for t, loss, _ in others), max(loss + t.loss_se for t, loss, _ in others)
    base, loss, _ = bases[0]
    if loss - base.loss_se - high <= _FAR * (high - low):
        return [figure.subplots()]
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 1))
    margin, around = 0.06 * (high - low), 1.8 * base.loss_se or 0.05 * loss
    left.set_xlim(low - margin, high + margin)
    right.set_xlim(loss - around, loss + around)
    right.set_xticks([loss], [f"{loss:.2f}"])
    _mark_break(left, right)
    return [left, right]


def _mark_break(left: Axes, right: Axes) -> None:
    """Slanted strokes where the loss axis leaves out what lies between."""
    for panel, edge in ((left, 1), (right, 0)):
        panel.plot(
            [edge],
            [0],
            transform=panel.transAxes,
            marker=[(-0.6, -1), (0.6, 1)],
            markersize=9,
            linestyle="none",
            color=_MUTED,
            clip_on=False,
        )
    right.spines["left"].set_alpha(0)
    right.tick_params(labelleft=False)


def _style(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_SPINE)


def _draw_front(axes: Axes, search: Search) -> None:
    front = sorted((loss, rouge) for trial, loss, rouge in search.scored if trial.on_front)
    if front:
        losses, rouges = zip(*front, strict=True)
        # A staircase: up to the next point of the front, no trial with so low a loss scores more.
        axes.step(losses, rouges, where="post", color=_FRONT, linewidth=2, alpha=0.85, label="Pareto front", zorder=2)


def _draw_trials(axes: Axes, search: Search) -> None:
    for label, colour, shape, size, origin in (
        ("Initial trial", _INITIAL, "o", 52, "initial"),
        ("Proposed trial", _PROPOSED, "o", 52, "proposed"),
        ("Base", _BASE, "s", 74, "base"),
        ("Default LoRA", _DEFAULT, "D", 66, "default"),
    ):
        members = [point for point in search.scored if point[0].origin == origin]
        _draw_bars(axes, members, colour)
        _draw_points(axes, members, colour, shape, size, label, 3)
    winners = [point for point in search.scored if point[0].is_winner]
    _draw_points(axes, winners, _WINNER, "*", 330, "Winner", 4)
    # Base and default LoRA are looked for in every picture: a winner that is one of them shows both.
    for origin, colour, shape in (("base", _BASE, "s"), ("default", _DEFAULT, "D")):
        _draw_points(axes, [point for point in winners if point[0].origin == origin], colour, shape, 30, None, 5)


def _draw_bars(axes: Axes, points: list[_Point], colour: str) -> None:
    for trial, loss, rouge in points:
        axes.errorbar(
            loss,
            rouge,
            xerr=trial.loss_se,
            yerr=trial.rouge_l_se,
            fmt="none",
            ecolor=_WINNER if trial.is_winner else colour,
            elinewidth=0.9,
            alpha=0.7 if trial.is_winner else 0.35,
            zorder=1,
        )


def _draw_points(
    axes: Axes, points: list[_Point], colour: str, shape: str, size: int, label: str | None, zorder: int
) -> None:
    if points:
        losses, rouges = [loss for _, loss, _ in points], [rouge for _, _, rouge in points]
        axes.scatter(
            losses,
            rouges,
            s=size,
            c=colour,
            marker=shape,
            edgecolors="white",
            linewidths=0.9,
            label=label,
            zorder=zorder,
        )


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
                zorder=6,
                annotation_clip=True,
            )
