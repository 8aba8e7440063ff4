"""The search as one function: from the first batch to the reason to stop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from benchmarks.synthetic import SyntheticProblem
from engine.configuration import Configuration
from workers.search.initial import initial_design
from workers.search.loop import Batch, next_batch
from workers.search.observations import Observation
from workers.search.presets import Preset
from workers.search.space import SearchSpace

SPACE = SearchSpace(8, 160)
PRESET = Preset("test", trials=12, initial=5, patience=10)
PROBLEM = SyntheticProblem(SPACE, seed=0)


def _next(
    observations: list[Observation],
    *,
    failed: tuple[Configuration, ...] = (),
    pending: tuple[Configuration, ...] = (),
    space: SearchSpace = SPACE,
    preset: Preset = PRESET,
    q: int = 4,
    elapsed: float = 0.0,
    max_seconds: float | None = None,
    stopped: tuple[Observation, ...] = (),
) -> Batch:
    return next_batch(space, preset, observations, failed, pending, q, 11, "map_saas", elapsed, max_seconds, stopped)


def _observe(batch: Batch) -> list[Observation]:
    return [PROBLEM.observe(configuration) for configuration, _ in batch.configurations]


def test_the_first_batch_is_base_default_lora_and_initial_design_whatever_q_is() -> None:
    batch = _next([], q=1)
    assert batch.configurations[0] == (Configuration.base(8), "base")
    assert batch.configurations[1] == (Configuration.default_lora(8), "default")
    assert Counter(origin for _, origin in batch.configurations) == {"base": 1, "default": 1, "initial": 4}
    assert batch.stop_reason is None


def test_random_points_go_on_to_the_end_of_the_budget_whatever_they_bring() -> None:
    impatient = replace(PRESET, patience=1)
    first = _observe(_next([], preset=impatient))
    proposed = _next(first, preset=impatient).configurations
    tried = [*first, *(replace(first[0], configuration=configuration) for configuration, _ in proposed)]
    aimed, random = (
        next_batch(SPACE, impatient, tried, (), (), 2, 11, surrogate, 0.0, None) for surrogate in ("map_saas", "random")
    )
    assert (aimed.configurations, aimed.stop_reason is None) == ([], False)
    assert (len(random.configurations), random.stop_reason) == (2, None)


def test_a_budget_smaller_than_the_initial_design_cuts_it() -> None:
    assert len(_next([], preset=Preset("test", trials=3, initial=5, patience=9)).configurations) == 3


def test_a_base_without_room_for_a_stack_is_tried_alone_and_the_search_ends() -> None:
    narrow = SearchSpace(8, 4)
    first = _next([], space=narrow)
    assert first.configurations == [(Configuration.base(8), "base")]
    last = _next(_observe(first), space=narrow)
    assert last.configurations == []
    assert last.stop_reason == "All 1 configurations of the space have been tried."


def test_a_first_batch_that_was_planned_in_part_is_completed() -> None:
    first = _next([]).configurations
    rest = _next([], pending=tuple(c for c, _ in first[:3]))
    assert rest.configurations == first[3:]


def test_a_whole_search_spends_its_budget_never_repeats_and_replays_exactly() -> None:
    preset = Preset("test", trials=10, initial=4, patience=10)

    def search() -> tuple[list[Configuration], str | None]:
        observations: list[Observation] = []
        while True:
            batch = _next(observations, q=4, preset=preset)
            if batch.stop_reason:
                return [o.configuration for o in observations], batch.stop_reason
            observations += _observe(batch)

    tried, reason = search()
    assert len(tried) == len(set(tried)) == 10
    assert reason == "All 10 trials of the budget are done."
    assert search() == (tried, reason)


def test_a_repeated_call_with_the_same_arguments_gives_the_same_batch() -> None:
    observations = _observe(_next([]))
    assert _next(observations, q=2) == _next(observations, q=2)


def test_later_batches_hold_at_most_q_proposals_and_never_more_than_the_budget_leaves() -> None:
    observations = _observe(_next([]))
    assert [origin for _, origin in _next(observations, q=2).configurations] == ["proposed"] * 2
    left = _next(observations, q=4, preset=Preset("test", trials=7, initial=5, patience=9))
    assert len(left.configurations) == 1


def test_pending_and_failed_trials_count_against_the_budget_and_are_not_proposed() -> None:
    observations = _observe(_next([]))
    others = tuple(initial_design(SPACE, 9, seed=77)[1:])
    batch = _next(observations, pending=others[:2], failed=others[2:6], q=4)
    # Twelve trials less six finished, two pending and four failed.
    assert batch == Batch()
    batch = _next(observations, pending=others[:2], failed=others[2:4], q=4)
    assert len(batch.configurations) == 2
    assert {c for c, _ in batch.configurations}.isdisjoint(others[:4])


def test_with_the_budget_planned_and_trials_pending_there_is_nothing_to_do_but_wait() -> None:
    observations = _observe(_next([]))
    pending = tuple(initial_design(SPACE, 7, seed=77)[1:])
    assert _next(observations, pending=pending) == Batch([], None)


def test_it_stops_after_the_given_seconds_but_still_tries_the_first_batch() -> None:
    assert _next([], elapsed=99.0, max_seconds=10.0).stop_reason is None
    assert "10 seconds" in (_next(_observe(_next([])), elapsed=99.0, max_seconds=10.0).stop_reason or "")


def test_failed_initial_trials_are_not_planned_again() -> None:
    first = _next([]).configurations
    observations = [PROBLEM.observe(c) for c, _ in first[:3]]
    batch = _next(observations, failed=tuple(c for c, _ in first[3:]), q=2)
    assert [origin for _, origin in batch.configurations] == ["proposed"] * 2


def test_stopped_trials_are_spent_and_never_proposed_again() -> None:
    *complete, last = _observe(_next([]))
    stopped = (replace(last, loss_se=0.5, rouge_l_se=3.0),)
    proposed = _next(complete, stopped=stopped, q=50).configurations

    assert len(proposed) == PRESET.trials - len(complete) - 1
    assert last.configuration not in [point for point, _ in proposed]
    spent = complete + [PROBLEM.observe(point) for point, _ in proposed]
    assert _next(spent, stopped=stopped).stop_reason == "All 12 trials of the budget are done."


def test_what_a_stopped_trial_would_have_scored_moves_the_next_points() -> None:
    *complete, last = _observe(_next([]))
    proposals = [_next(complete, stopped=(replace(last, rouge_l=rouge_l),)).configurations for rouge_l in (1.0, 30.0)]
    assert proposals[0] != proposals[1]
