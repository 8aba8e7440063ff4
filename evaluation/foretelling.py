"""`python -m evaluation.foretelling`: how well a search's surrogate foretells trials that it does not know, on the
committed searches; with a folder, on a run's.

A surrogate that cannot tell a good configuration from a bad one proposes no better than chance does. Each search's
trials are left out a quarter at a time, the surrogate is fitted to the others, and what it says of those left out is
held against what they became. Nothing is trained.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from statistics import fmean, pstdev
from typing import Any

from engine.configuration import Configuration
from evaluation.replays import observation, parser, searches_of
from evaluation.rows import SearchRecord
from evaluation.tables.markdown import Table
from workers.search.observations import Observation
from workers.search.space import SearchSpace

FOLDS = 4
FEWEST_TRIALS = 12
"""Trained trials of a search below which a rank correlation of them says nothing."""


@dataclass(frozen=True)
class Foretold:
    """What was said of one search's trials beside what they became, for the loss and for ROUGE-L.

    Args:
        loss, rouge_l: Spearman's rank correlation, -1..1; 0 where the surrogate says the same of all.
        loss_error, rouge_l_error: root mean squared error, in standard deviations of what the trials became: 1 is that
            of their mean.
    """

    loss: float
    loss_error: float
    rouge_l: float
    rouge_l_error: float


def foretell(trials: Sequence[Mapping[str, Any]], surrogate: str) -> Foretold | None:
    """One search's trials by the others of it; None where too few made every pass, or their scores are all alike."""
    known = [observation(trial) for trial in trials if trial["state"] == "succeeded"]
    base = [one for one in known if one.configuration.is_base]
    trained = [one for one in known if not one.configuration.is_base]
    if len(trained) < FEWEST_TRIALS:
        return None
    space = _space(trained)
    said: dict[Configuration, tuple[float, float]] = {}
    for fold in range(FOLDS):
        left_out = [one.configuration for one in trained[fold::FOLDS]]
        others = [*base, *(one for one in trained if one.configuration not in left_out)]
        said.update(zip(left_out, _said_of(space, left_out, others, surrogate), strict=True))
    losses = _agreement([said[o.configuration][0] for o in trained], [o.loss for o in trained])
    rouges = _agreement([said[o.configuration][1] for o in trained], [o.rouge_l for o in trained])
    return Foretold(*losses, *rouges) if losses is not None and rouges is not None else None


def table(records: Sequence[SearchRecord], surrogate: str) -> Table:
    """A row for each set and base: means over its searches."""
    by_set: dict[str, list[Foretold]] = defaultdict(list)
    for record in records:
        found = foretell(record.trials, surrogate)
        if found is not None:
            by_set[f"{record.set} on {record.base}"].append(found)
    rows = []
    for name, each in sorted(by_set.items()):
        means = map(fmean, zip(*map(astuple, each), strict=True))
        rows.append([name, str(len(each)), *(f"{mean:.2f}" for mean in means)])
    note = (
        "Means over searches: Spearman's rank correlation of what is said with what the trial became, and the error in "
        "standard deviations between trials (1: as well as their mean)."
    )
    return Table(
        title=f"What the surrogate {surrogate} foretells",
        head=["Set and base", "Searches", "Loss: rank", "error", "ROUGE-L: rank", "error"],
        rows=rows,
        note=note if rows else f"No search has {FEWEST_TRIALS} trained trials that made every pass.",
    )


def _space(trained: Sequence[Observation]) -> SearchSpace:
    """A space as large as what was tried: records do not say how large theirs was."""
    tried = [one.configuration for one in trained]
    return SearchSpace(len(tried[0].layers), max(configuration.total_rank for configuration in tried))


def _said_of(
    space: SearchSpace, asked: Sequence[Configuration], known: Sequence[Observation], surrogate: str
) -> list[tuple[float, float]]:
    """Loss and ROUGE-L that a surrogate of the known ones expects."""
    import torch

    from workers.search.surrogate import Objectives, fit_surrogate

    objectives = Objectives(known)
    model = fit_surrogate(surrogate, space.encode([one.configuration for one in known]), objectives, seed=0)
    with torch.no_grad():
        mean = model.posterior(space.encode(asked)).mean
    # An ensemble says one thing for each of its members.
    mean = mean.reshape(-1, len(asked), 2).mean(dim=0) * objectives.scale + objectives.mean
    return [(-loss, rouge_l) for loss, rouge_l in mean.tolist()]


def _agreement(said: Sequence[float], became: Sequence[float]) -> tuple[float, float] | None:
    from scipy.stats import spearmanr

    spread = pstdev(became)
    if spread == 0:
        return None
    error = math.sqrt(fmean((a - b) ** 2 for a, b in zip(said, became, strict=True))) / spread
    rank = float(spearmanr(said, became).statistic) if len(set(said)) > 1 else 0.0
    return rank, error


def main() -> None:
    """Print the table."""
    told = parser(__doc__)
    told.add_argument("--surrogate", default="map_saas", help="see workers.search.surrogate.SURROGATES")
    asked = told.parse_args()
    print(table(searches_of(asked.folder), asked.surrogate).markdown())


if __name__ == "__main__":
    main()
