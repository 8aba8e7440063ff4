"""Training pass by pass: what is measured and kept after each, and ending after fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
import torch

from engine.base import Base
from engine.configuration import Configuration
from engine.evaluation import Examination, evaluate_stacks
from engine.stack import Stack
from engine.training import Candidate, Course, TrainingSettings, train_candidates, train_group
from tests.engine.test_training import (
    CANDIDATE,
    COMPANY,
    HISTORY,
    OTHER_HISTORY,
    SETTINGS,
    assert_same_weights,
    in_one_batch,
)


class Remembering(Examination):
    """An examination that keeps a copy of every stack it is given, and which of them it was to score."""

    def __init__(self, base: Base) -> None:
        super().__init__(base, OTHER_HISTORY, train=HISTORY, profile="", max_new_tokens=4, max_sequence_tokens=128)
        self.given: list[Stack] = []
        self.scored = 0

    def losses(self, stacks: Sequence[Stack | None], should_stop: Callable[[], bool] = lambda: False) -> Any:
        self._keep(stacks)
        return super().losses(stacks, should_stop)

    def score(self, stacks: Sequence[Stack | None], should_stop: Callable[[], bool] = lambda: False) -> Any:
        self._keep(stacks)
        self.scored += len(stacks)
        return super().score(stacks, should_stop)

    def _keep(self, stacks: Sequence[Stack | None]) -> None:
        copies = [(stack.configuration, stack.a, stack.b) for stack in stacks if stack is not None]
        self.given += [Stack(c, *({n: t.clone() for n, t in half.items()} for half in ab)) for c, *ab in copies]


def equal(one: Stack | None, other: Stack) -> bool:
    """Whether two stacks hold the very same numbers."""
    halves = ((one.a, other.a), (one.b, other.b)) if one is not None else ()
    return bool(halves) and all(torch.equal(t, theirs[name]) for mine, theirs in halves for name, t in mine.items())


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_one_that_ends_after_fewer_passes_has_the_very_weights_a_full_one_had_then(
    passes: int, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base("llama")
    # The warm-up lasts longer than the first passes: an end after fewer must not shorten it.
    settings = replace(SETTINGS, epochs=4, warmup_fraction=0.7)
    examination = Remembering(base)
    (full,) = train_candidates(base, [CANDIDATE], Course(HISTORY, settings, validation=examination))
    steps: list[tuple[int, int]] = []
    (ended,) = train_candidates(
        base, [CANDIDATE], Course(HISTORY, settings, passes=passes), on_step=lambda *told: steps.append(told)
    )

    assert (full.steps, ended.steps, ended.complete) == (16, 4 * passes, True)
    assert ended.losses == full.losses[: 4 * passes]
    assert [equal(ended.stack, stack) for stack in examination.given] == [n == passes for n in (1, 2, 3, 4)]
    assert steps == [(done, 4 * passes) for done in range(1, 4 * passes + 1)]


@pytest.mark.parametrize("passes", [None, 2, 5])
def test_nobody_makes_more_passes_than_the_settings_allow(passes: int | None, tiny_base: Callable[[str], Base]) -> None:
    (trained,) = train_candidates(tiny_base("llama"), [CANDIDATE], Course(HISTORY, SETTINGS, passes=passes))

    assert trained.steps == 8


def test_in_company_each_ends_after_so_many_passes_as_it_would_alone(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    course = Course(HISTORY, SETTINGS, passes=1)
    together = train_group(base, [CANDIDATE, *COMPANY[:2]], course, places=2)

    assert [one.steps for one in together] == [4, 4, 4]
    for candidate, one in zip([CANDIDATE, *COMPANY[:2]], together, strict=True):
        assert_same_weights(one, train_candidates(base, [candidate], course)[0])


def test_the_scores_after_the_last_pass_are_those_of_the_stack_that_comes_out(
    tiny_base: Callable[[str], Base],
) -> None:
    base = tiny_base("llama")
    candidates = [CANDIDATE, *COMPANY[:2]]
    course = Course(HISTORY, replace(SETTINGS, learning_rate=2e-2), validation=Remembering(base))
    trained = train_candidates(base, candidates, course)
    scored = evaluate_stacks(
        base,
        [one.stack for one in trained],
        OTHER_HISTORY,
        train=HISTORY,
        profile="",
        max_new_tokens=4,
        max_sequence_tokens=128,
    )

    for one, scores in zip(trained, scored, strict=True):
        assert one.scores is not None
        assert one.scores.loss == pytest.approx(scores.loss, abs=1e-5)
        assert replace(one.scores, loss=[]) == replace(scores, loss=[])
        first, last = one.curve
        assert last == pytest.approx(fmean(scores.loss), abs=1e-5)
        assert first != pytest.approx(last, abs=1e-3)


def test_the_losses_of_a_pass_are_those_of_a_training_that_ends_with_it(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    course = Course(HISTORY, replace(SETTINGS, epochs=3), validation=Remembering(base))
    (whole,) = train_candidates(base, [CANDIDATE], course)
    (shorter,) = train_candidates(base, [CANDIDATE], replace(course, passes=2))
    assert shorter.curve == pytest.approx(whole.curve[:2], abs=1e-6)


def test_being_scored_changes_nothing_of_what_is_learned(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    scored, unscored = (
        train_candidates(base, [CANDIDATE], Course(HISTORY, SETTINGS, validation=validation))[0]
        for validation in (Remembering(base), None)
    )

    assert (len(scored.curve), unscored.curve, unscored.scores) == (2, [], None)
    assert unscored.stack is not None
    assert equal(scored.stack, unscored.stack)


def test_one_told_to_stop_leaves_its_place_and_the_others_end_as_they_would_alone(
    tiny_base: Callable[[str], Base],
) -> None:
    base = tiny_base("llama")
    asked: list[int] = []

    def go_on(_candidate: Candidate, curve: Sequence[float]) -> bool:
        asked.append(len(curve))
        return len(asked) != 1

    course = Course(HISTORY, SETTINGS, validation=(examination := Remembering(base)), go_on=go_on)
    stopped, *others = train_group(base, COMPANY[:3], course, places=1)

    assert (stopped.complete, stopped.steps, len(stopped.curve), stopped.scores) == (False, 4, 1, None)
    assert asked == [1, 1, 1]
    assert examination.scored == 2
    assert [(other.steps, len(other.curve)) for other in others] == [(8, 2), (8, 2)]
    for other, alone in zip(others, in_one_batch(base, COMPANY[1:3], HISTORY), strict=True):
        assert other.complete
        assert_same_weights(other, alone)


def test_nobody_is_asked_to_go_on_after_the_last_pass_it_makes(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    asked: list[int] = []

    def go_on(_candidate: Candidate, curve: Sequence[float]) -> bool:
        asked.append(len(curve))
        return True

    settings = replace(SETTINGS, epochs=4)
    course = Course(HISTORY, settings, passes=3, validation=Remembering(base), go_on=go_on)
    (trained,) = train_candidates(base, [CANDIDATE], course)

    assert (asked, len(trained.curve), trained.complete) == ([1, 2], 3, True)


def test_one_that_diverges_is_not_scored_any_more_and_the_others_are(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    examination = Remembering(base)
    course = Course(HISTORY, TrainingSettings(1e30, 0.0, 0.0, 4, 2, 1.0, 128), validation=examination)
    untrained = Candidate("base", Configuration.base(3), 0)
    diverged, nothing = train_group(base, [CANDIDATE, untrained], course, places=2)

    assert diverged.stack is None
    assert "diverged" in str(diverged.error)
    assert (diverged.curve, nothing.curve) == ([], [])
    assert examination.given == []
