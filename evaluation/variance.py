"""`python -m evaluation.variance`: how much of what a user's trials differ in is the configuration's and how much
chance, on the committed searches; with a folder, on a run's.

With one seed all users' searches begin with the same configurations, so each of these was tried for every user: a
two-way layout. What a configuration adds for everybody shows in its mean over users; what is left is what it adds for
one user alone, and noise. Where the first is zero, no search can find a better configuration than chance does, but for
what is one user's own. Nothing is trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from evaluation.replays import parser, searches_of
from evaluation.rows import SearchRecord
from evaluation.tables.markdown import Table

FEWEST_USERS = 2
FEWEST_CONFIGURATIONS = 3
"""Below these there is nothing to tell a configuration's part from the rest by."""

SCORES = {"rouge_l": "ROUGE-L", "loss": "Loss"}


@dataclass(frozen=True)
class Parts:
    """Where the variance between a user's trials comes from, by the moments of a two-way layout with random effects and
    one observation a cell (Searle, Casella and McCulloch, 1992, "Variance Components", on balanced data).

    Args:
        configuration: variance that configurations have for all users; below zero: less than chance gives.
        rest: variance of what is one user's and one configuration's, noise among it.
        error: mean squared standard error of a trial's score. Trials share their samples, and with them a part of it.
        p: of configurations being all alike (F test).
    """

    configuration: float
    rest: float
    error: float
    p: float

    @property
    def share(self) -> float:
        """Of the variance between a user's trials what is the configuration's, at least 0."""
        return max(self.configuration, 0.0) / (max(self.configuration, 0.0) + self.rest)


def parts(scores: Sequence[Sequence[float]], errors: Sequence[Sequence[float]]) -> Parts | None:
    """The parts of these scores' variance.

    Args:
        scores: users x configurations.
        errors: their standard errors.

    Returns:
        None for too few users or configurations, or where nothing is left beside the configuration's part.
    """
    users, configurations = len(scores), len(scores[0]) if scores else 0
    if users < FEWEST_USERS or configurations < FEWEST_CONFIGURATIONS:
        return None
    from scipy.stats import f

    above = [[score - fmean(row) for score in row] for row in scores]
    means = [fmean(column) for column in zip(*above, strict=True)]
    freedom = (configurations - 1, (users - 1) * (configurations - 1))
    between = users * sum(mean**2 for mean in means) / freedom[0]
    rest = sum((score - mean) ** 2 for row in above for score, mean in zip(row, means, strict=True)) / freedom[1]
    if rest == 0:
        return None
    error = fmean(error**2 for row in errors for error in row)
    return Parts((between - rest) / users, rest, error, float(f.sf(between / rest, *freedom)))


def table(records: Sequence[SearchRecord]) -> Table:
    """A row for each set, base, seed and score that enough users were searched for by MiLP."""
    groups: dict[tuple[str, int], list[SearchRecord]] = defaultdict(list)
    for record in records:
        if record.method == "milp" and not record.variant:
            groups[f"{record.set} on {record.base}", record.seed].append(record)
    rows = [[name, str(seed), *row] for (name, seed), searches in sorted(groups.items()) for row in _rows_of(searches)]
    note = (
        "Of trials in validation that were made for every user. Variance components of a two-way layout; the share is "
        "the configuration's of both; p is that of configurations being all alike (F test)."
    )
    return Table(
        title="Where the variance between a user's trials comes from",
        head=["Set and base", "Seed", "Users", "Tried", "Score", "Configuration", "Rest", "Error", "Share", "p"],
        rows=rows,
        note=note if rows else "No configuration was tried for several users.",
    )


_Configuration = tuple[str, int, int]


def _rows_of(searches: Sequence[SearchRecord]) -> list[list[str]]:
    """What one group's searches say of each score."""
    first, *others = tried = [_by_configuration(record) for record in searches]
    common = [point for point in first if all(point in other for other in others)]
    rows = []
    for score, shown in SCORES.items():
        found = parts(*([[one[point][name] for point in common] for one in tried] for name in (score, f"{score}_se")))
        if found is not None:
            variances = [f"{value:.3g}" for value in (found.configuration, found.rest, found.error)]
            counts = [str(len(searches)), str(len(common))]
            rows.append([*counts, shown, *variances, f"{found.share:.0%}", f"{found.p:.2g}"])
    return rows


def _by_configuration(record: SearchRecord) -> dict[_Configuration, dict[str, float]]:
    """The trained trials of a search that made every pass."""
    return {
        (trial["layers"], trial["n"], trial["r"]): trial
        for trial in record.trials
        if trial["state"] == "succeeded" and trial["origin"] != "base"
    }


def main() -> None:
    """Print the table."""
    print(table(searches_of(parser(__doc__).parse_args().folder)).markdown())


if __name__ == "__main__":
    main()
