"""`python -m evaluation.stopping`: what stopping weak trials early saves and what it loses, on the committed searches;
with a folder, on a run's.

The initial design's trials make every pass, so what each would have become is known. They are gone through in order as
a search would: the rule knows the first ones and those it let go on, and says of each next one after each pass whether
it goes on. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation.replays import observation, parser, searches_of
from evaluation.rows import SearchRecord
from evaluation.tables.markdown import Table
from workers.search.early_stopping import FEWEST_COMPLETE, Complete, StoppingRule
from workers.search.winner import lower_bound

CONFIDENCES = (0.95, 0.9, 0.8, 0.7)
_BASE, _DESIGN = "base", ("default", "initial")


@dataclass(frozen=True)
class Replayed:
    """One search gone through with one confidence.

    Args:
        passes: of the trials that the rule was asked about.
        saved: of these, what it would have left out.
        lost: how much lower the best lower bound of ROUGE-L is among the trials that were not stopped, points; 0 where
            the best was not stopped.
    """

    passes: int
    saved: int
    lost: float


def replay(trials: Sequence[Mapping[str, Any]], confidence: float) -> Replayed | None:
    """A search's design with the rule in it; None where too few trials made every pass."""
    succeeded = [trial for trial in trials if trial["state"] == "succeeded"]
    base = next((observation(trial) for trial in succeeded if trial["origin"] == _BASE), None)
    # Records from before losses were kept for every pass say nothing here.
    trained = [trial for trial in succeeded if trial["origin"] in _DESIGN and trial.get("curve")]
    longest = max((len(trial["curve"]) for trial in trained), default=0)
    whole = [_complete(trial) for trial in trained if len(trial["curve"]) == longest]
    if base is None or len(whole) <= FEWEST_COMPLETE:
        return None
    known, saved = whole[:FEWEST_COMPLETE], 0
    for trial in whole[FEWEST_COMPLETE:]:
        rule = StoppingRule(known, base, confidence)
        made = _passes_made(rule, trial)
        saved += longest - made
        known = [*known, trial] if made == longest else known
    best, found = (max(lower_bound(trial.observation) for trial in some) for some in (whole, known))
    return Replayed(longest * (len(whole) - FEWEST_COMPLETE), saved, best - found)


def table(records: Sequence[SearchRecord], confidences: Sequence[float] = CONFIDENCES) -> Table:
    """A row for each confidence, over all searches with a whole design; the same design is counted once."""
    once = {(one.set, one.base, one.user, one.seed, one.variant): one for one in records}
    rows = []
    for confidence in confidences:
        found = [one for record in once.values() if (one := replay(record.trials, confidence)) is not None]
        if found:
            kept, saved = sum(one.lost == 0 for one in found), sum(one.saved for one in found)
            asked = sum(one.passes for one in found)
            lost = fmean(one.lost for one in found)
            cells = [f"{confidence:g}", f"{saved} of {asked} ({saved / asked:.0%})", f"{kept} of {len(found)}"]
            rows.append([*cells, f"{lost:.2f}"])
    told = (
        f"The rule knows the first {FEWEST_COMPLETE} trials of a design and is asked about the others after each pass."
    )
    return Table(
        title="Trials stopped early",
        head=["Confidence", "Passes saved", "Searches that kept their best", "Lower bound lost, mean"],
        rows=rows,
        note=told if rows else "No search has a design of enough trials that made every pass.",
    )


def _passes_made(rule: StoppingRule, trial: Complete) -> int:
    for passes in range(1, len(trial.losses)):
        if not rule.goes_on(trial.losses[:passes], trial.observation.parameters):
            return passes
    return len(trial.losses)


def _complete(trial: Mapping[str, Any]) -> Complete:
    return Complete(tuple(trial["curve"]), observation(trial))


def main() -> None:
    """Print the table."""
    print(table(searches_of(parser(__doc__).parse_args().folder)).markdown())


if __name__ == "__main__":
    main()
