"""The numbers behind an evaluation's pictures: gains by user, best trial so far, scores by history, shares of layers.

Loads nothing heavy. Must not know how they are drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.metrics import paired_bootstrap
from engine.pareto import pareto_front
from evaluation.names import ROUGE_L
from evaluation.rows import SearchRecord
from evaluation.statistics import Estimate, Group, best_baseline, estimate, on_same_seeds, per_user

_HISTORY = "history="


@dataclass(frozen=True, slots=True)
class Gain:
    """One user's ROUGE-L of MiLP above a baseline's, with a 95 % interval over the user's own test samples, if kept."""

    user: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One trial with both scores, on validation."""

    number: int
    is_base: bool
    loss: float
    rouge_l: float


def gains(group: Group) -> tuple[str, list[Gain]] | None:
    """The set's best baseline, and each user's gain over it, the worst first; None where one was not measured."""
    baseline = best_baseline(group, ROUGE_L)
    if baseline is None:
        return None
    milp, other = (per_user(group.rows, method, ROUGE_L.name) for method in ("milp", baseline))
    found = []
    for user in milp.keys() & other.keys():
        ours, theirs = (_samples(group, method, user) for method in ("milp", baseline))
        low = high = None
        if ours and len(ours) == len(theirs):
            paired = paired_bootstrap(ours, theirs)
            low, high = paired.low, paired.high
        found.append(Gain(user, milp[user] - other[user], low, high))
    return baseline, sorted(found, key=lambda gain: (gain.mean, gain.user))


def scored(search: SearchRecord) -> list[Point]:
    """The trials that have both scores; failed and stopped ones have none."""
    found = []
    for place, trial in enumerate(search.trials):
        loss, rouge_l = trial.get("loss"), trial.get("rouge_l")
        if loss is None or rouge_l is None or not math.isfinite(loss) or not math.isfinite(rouge_l):
            continue
        found.append(Point(trial.get("number", place), trial.get("origin") == "base", loss, rouge_l))
    return found


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats, lowest loss first."""
    return [points[place] for place in pareto_front(points)]


def best_so_far(searches: Sequence[SearchRecord]) -> list[tuple[float, Estimate]]:
    """(trials so far, the best validation ROUGE-L among them, mean over users), up to the shortest search's end.

    It begins where every search has a scored trial: a mean over ever other searches would move for no reason.
    """
    curves: dict[str, list[list[float]]] = defaultdict(list)
    for search in searches:
        curves[search.user].append(_running_best(search))
    if not curves:
        return []
    found = []
    for number in range(min(len(curve) for some in curves.values() for curve in some)):
        so_far = {user: sum(curve[number] for curve in some) / len(some) for user, some in curves.items()}
        mean = estimate(so_far) if all(map(math.isfinite, so_far.values())) else None
        if mean:
            found.append((number + 1.0, mean))
    return found


def winners_by_trials(group: Group, method: str) -> list[tuple[float, Estimate]]:
    """(trials, the winner's ROUGE-L on test) of the standard grid and of its "trials=" variants, by trials.

    Means are over the users and seeds that have all of them, so that a line does not bend with who is in it.
    """
    found = []
    measured = {row.variant for row in group.rows if row.method == method}
    variants = sorted(variant for variant in measured if not variant or variant.startswith("trials="))
    common = on_same_seeds(group, *((method, variant) for variant in variants))
    for variant in variants:
        rows = [row for row in common if row.method == method and row.variant == variant]
        mean = estimate(per_user(rows, method, ROUGE_L.name, variant))
        trials = [row.trials for row in rows if row.trials is not None]
        if mean and trials:
            found.append((sum(trials) / len(trials), mean))
    return sorted(found, key=lambda point: point[0])


def by_history(group: Group) -> dict[str, list[tuple[float, Estimate]]]:
    """Of each method that was measured with parts of the history: (percent of it, ROUGE-L on test), the whole included.

    Means are over the users and seeds that have all parts, so that a line does not bend with who is in it.
    """
    found = {}
    methods = {row.method for row in group.rows if row.variant.startswith(_HISTORY)}
    for method in sorted(methods):
        measured = {row.variant for row in group.rows if row.method == method}
        shares = {variant: share for variant in measured if (share := _percent(variant)) is not None}
        rows = on_same_seeds(group, *((method, variant) for variant in shares))
        of_each = {share: per_user(rows, method, ROUGE_L.name, variant) for variant, share in shares.items()}
        scores = {share: some for share, some in of_each.items() if some}
        users = set.intersection(*map(set, scores.values())) if scores else set()
        means = [(share, estimate({user: some[user] for user in users})) for share, some in scores.items()]
        points = [(share, mean) for share, mean in means if mean]
        if len(points) > 1:
            found[method] = sorted(points, key=lambda point: point[0])
    return found


def layer_shares(configurations: Iterable[str | None]) -> list[float]:
    """Share of the configurations that use each layer, 0..1; None uses none. Empty where nothing is known of layers."""
    given = list(configurations)
    depth = max((len(layers) for layers in given if layers), default=0)
    same = [layers or "0" * depth for layers in given]
    if not depth or {len(layers) for layers in same} != {depth}:
        return []
    return [sum(layers[layer] == "1" for layers in same) / len(same) for layer in range(depth)]


def _running_best(search: SearchRecord) -> list[float]:
    by_number = {point.number: point.rouge_l for point in scored(search)}
    best, curve = -math.inf, []
    for number in range(len(search.trials)):
        best = max(best, by_number.get(number, -math.inf))
        curve.append(best)
    return curve


def _percent(variant: str) -> float | None:
    try:
        return 100 * float(variant.removeprefix(_HISTORY) or 1)
    except ValueError:
        return None


def _samples(group: Group, method: str, user: str) -> list[float]:
    """Each test sample's ROUGE-L, averaged over seeds; none where samples were not kept."""
    rows = [row for row in group.rows if (row.user, row.method, row.variant) == (user, method, "")]
    kept = [row.per_sample.get(ROUGE_L.name, []) for row in rows]
    if not kept or len({len(scores) for scores in kept}) != 1:
        return []
    return [math.fsum(scores) / len(scores) for scores in zip(*kept, strict=True)]
