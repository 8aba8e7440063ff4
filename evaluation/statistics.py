"""What rows say about a set: means over users, paired comparisons of two methods, and the gate's record.

A user is the unit of chance: seeds of a user are averaged first, and intervals are over users. Must not know how
anything is shown.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.metrics import RESAMPLES, bootstrap_interval, paired_bootstrap
from evaluation.names import BASELINES, Metric
from evaluation.rows import Row

PERMUTATIONS = 9999
"""Sign flips of a paired permutation test; up to 13 users all there are, so that p is exact."""

GATE_TARGET = 0.8
"""Of those for whom MiLP is worse on test, the share that the gate shall hold back."""

SAME = 1e-9
"""Two scores that differ by less are a tie: they went through rounding and averaging."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one set, which `name` names, on one base; only such are compared with each other."""

    name: str
    base: str
    rows: tuple[Row, ...]

    @property
    def methods(self) -> set[str]:
        """Those measured in the standard grid."""
        return {row.method for row in self.rows if not row.variant}

    @property
    def users(self) -> set[str]:
        return {row.user for row in self.rows}

    @property
    def seeds(self) -> set[int]:
        """Those that MiLP was measured with; of any method where MiLP was not. A prompt does not depend on a seed."""
        return {row.seed for row in self.rows if row.method == "milp"} or {row.seed for row in self.rows}

    @property
    def seeds_of(self) -> dict[str, int]:
        """How many seeds each trained method has in the standard grid."""
        found: dict[str, set[int]] = {}
        for row in self.rows:
            if row.method not in BASELINES and not row.variant:
                found.setdefault(row.method, set()).add(row.seed)
        return {method: len(seeds) for method, seeds in found.items()}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users and its 95 % bootstrap interval, in the metric's unit. One user alone has no interval."""

    mean: float
    low: float | None
    high: float | None
    users: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods, a and b, on the users that both have.

    Args:
        a, b: means over those users.
        difference: a - b, with its 95 % interval by paired bootstrap over users; None with one user.
        relative: 100 * (a / b - 1), percent, with its interval; None where b is 0 or may be.
        p: two-sided, of the paired permutation test that flips the sign of users' differences; None with one user.
        won, tied, lost: users for whom a is better, the same, worse.
    """

    users: int
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float | None
    won: int
    tied: int
    lost: int


@dataclass(frozen=True, slots=True)
class Improvement:
    """A method against the best of the baselines."""

    baseline: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class GateRecord:
    """How well the gate knew what the test part would say (ROUGE-L).

    A cell is one user with one seed. It is worse (better) where MiLP scores below (above) the best of `against`.
    """

    against: tuple[str, ...]
    cells: int
    activated: int
    worse: int
    worse_held_back: int
    better: int
    better_held_back: int

    @property
    def share(self) -> float | None:
        """Share of the worse cells that were not activated, 0..1; None where none was worse."""
        return self.worse_held_back / self.worse if self.worse else None


def groups(rows: Iterable[Row]) -> list[Group]:
    """The rows by set and base, in the order of their names."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.set, row.base].append(row)
    return [Group(*key, tuple(found[key])) for key in sorted(found)]


def per_user(rows: Iterable[Row], method: str, metric: str, variant: str = "") -> dict[str, float]:
    """Each user's score, averaged over seeds. One that is NaN or infinite is left out, and so is who has no other."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = float(getattr(row, metric))
        if row.method == method and row.variant == variant and math.isfinite(value):
            scores[row.user].append(value)
    return {user: math.fsum(values) / len(values) for user, values in scores.items()}


def estimate(scores: Mapping[str, float]) -> Estimate | None:
    """Mean over users with its interval; None without users."""
    if not scores:
        return None
    interval = bootstrap_interval([scores[user] for user in sorted(scores)])
    if len(scores) == 1:
        return Estimate(interval.mean, None, None, 1)
    return Estimate(interval.mean, interval.low, interval.high, len(scores))


def compare(a: Mapping[str, float], b: Mapping[str, float], better: int = 1) -> Comparison | None:
    """Compare two methods on the users that both have; None where there is none.

    Args:
        better: +1 where more is better, -1 where less is: it decides who won.
    """
    users = sorted(a.keys() & b.keys())
    if not users:
        return None
    first, second = [a[user] for user in users], [b[user] for user in users]
    gains = [better * (x - y) for x, y in zip(first, second, strict=True)]
    won, lost = sum(gain > SAME for gain in gains), sum(gain < -SAME for gain in gains)
    paired = paired_bootstrap(first, second)
    alone = len(users) == 1
    mean_a, mean_b = math.fsum(first) / len(users), math.fsum(second) / len(users)
    relative = 100 * (mean_a / mean_b - 1) if mean_b else None
    ends = None if alone or relative is None else _relative_interval(first, second)
    return Comparison(
        users=len(users),
        a=mean_a,
        b=mean_b,
        difference=paired.difference,
        low=None if alone else paired.low,
        high=None if alone else paired.high,
        relative=relative,
        relative_low=ends[0] if ends else None,
        relative_high=ends[1] if ends else None,
        p=None if alone else _permutation_p(first, second),
        won=won,
        tied=len(users) - won - lost,
        lost=lost,
    )


def compared(
    group: Group, a: str, b: str, metric: Metric, variant: str = "", variant_b: str | None = None
) -> Comparison | None:
    """Compare two methods of one group, on the users and seeds that both have; baselines have every seed.

    Args:
        variant: of both, but for `variant_b` where it is given.
    """
    of_a, of_b = (a, variant), (b, variant if variant_b is None else variant_b)
    rows = on_same_seeds(group, of_a, of_b)
    first, second = (per_user(rows, method, metric.name, of) for method, of in (of_a, of_b))
    return compare(first, second, metric.better)


def on_same_seeds(group: Group, *measured: tuple[str, str]) -> list[Row]:
    """The group's rows of the users and seeds that all of these (method, variant) have; baselines have every seed."""
    rows = list(group.rows)
    for of in measured:
        if of[0] not in BASELINES:
            cells = {(row.user, row.seed) for row in group.rows if (row.method, row.variant) == of}
            rows = [row for row in rows if row.method in BASELINES or (row.user, row.seed) in cells]
    return rows


def best_baseline(group: Group, metric: Metric, method: str = "milp") -> str | None:
    """The baseline with the best mean, over the users whom the method and all baselines measured on its users have;
    None without.

    Chosen once for a set, on its test part, which favours the baseline.
    """
    scores = {name: per_user(group.rows, name, metric.name) for name in (*BASELINES, method)}
    measured = [name for name in BASELINES if scores[name].keys() & scores[method].keys()]
    users = set.intersection(*(set(scores[name]) for name in (*measured, method)))
    if not measured or not users:
        return None
    return max(measured, key=lambda name: metric.better * math.fsum(scores[name][user] for user in users))


def improvement(group: Group, metric: Metric, method: str = "milp") -> Improvement | None:
    """The method against the best baseline of its set; None where one of the two was not measured."""
    baseline = best_baseline(group, metric, method)
    comparison = compared(group, method, baseline, metric) if baseline else None
    return Improvement(baseline, comparison) if baseline and comparison else None


BASE_TRIAL = 0
"""The base's number among a search's trials."""


def gate_record(group: Group, against: Sequence[str] = BASELINES) -> GateRecord | None:
    """What the gate did with whom; None where no gate decided or none of `against` was measured.

    Where the base itself won there was nothing to hold back.
    """
    present = tuple(name for name in against if name in group.methods)
    of_milp = [row for row in group.rows if row.method == "milp" and not row.variant]
    gated = [row for row in of_milp if row.activated is not None and row.trial != BASE_TRIAL]
    margins = [(margin, bool(row.activated)) for row in gated if (margin := _margin(group, row, present)) is not None]
    if not margins:
        return None
    worse = [activated for margin, activated in margins if margin < -SAME]
    better = [activated for margin, activated in margins if margin > SAME]
    return GateRecord(
        against=present,
        cells=len(margins),
        activated=sum(activated for _, activated in margins),
        worse=len(worse),
        worse_held_back=len(worse) - sum(worse),
        better=len(better),
        better_held_back=len(better) - sum(better),
    )


def _margin(group: Group, row: Row, against: Sequence[str]) -> float | None:
    """ROUGE-L of a cell above the best of the others for the same user; they need not have been run with its seed."""
    others = []
    for method in against:
        same = [other for other in group.rows if (other.user, other.method, other.variant) == (row.user, method, "")]
        seeded = [other.rouge_l for other in same if other.seed == row.seed] or [other.rouge_l for other in same]
        others += [math.fsum(seeded) / len(seeded)] if seeded else []
    return row.rouge_l - max(others) if others else None


def _relative_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile bootstrap of the ratio of means, percent, users resampled as pairs; None where b may be 0."""
    import numpy as np
    from scipy.stats import bootstrap

    def relative(x: Any, y: Any, axis: int) -> Any:
        return 100 * (x.mean(axis=axis) / y.mean(axis=axis) - 1)

    with np.errstate(divide="ignore", invalid="ignore"):
        found = bootstrap(
            (np.asarray(a), np.asarray(b)),
            relative,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    low, high = map(float, found.confidence_interval)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _permutation_p(a: Sequence[float], b: Sequence[float]) -> float:
    import numpy as np
    from scipy.stats import permutation_test

    found = permutation_test(
        (np.asarray(a), np.asarray(b)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
