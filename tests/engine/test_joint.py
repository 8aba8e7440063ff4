"""Candidates of several courses in one batch: none can tell from its weights who else was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import torch

from engine import joint as joint_module
from engine import training
from engine.base import Base
from engine.course import Course, Material
from engine.errors import TrainingStoppedError
from engine.joint import Joint
from engine.learner import Candidate, Learner, TrainedCandidate
from engine.out_of_memory import is_out_of_memory
from engine.party import Party, Progress
from engine.training import has_room, train_candidates
from tests.engine.test_training import CANDIDATE, COMPANY, HISTORY, OTHER_HISTORY, SETTINGS, assert_same_weights

UPPER = COMPANY[2]
"""On the last layer only: what is below it is kept."""
SHORT, LONG = Course(OTHER_HISTORY, SETTINGS), Course(HISTORY, replace(SETTINGS, epochs=4))


@pytest.fixture
def base(tiny_base: Callable[[str], Base]) -> Base:
    return tiny_base("llama")


class Steps:
    """Makes every step, and keeps the keys of those that made it. The first of them waits until as many are there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[list[str]] = []
        self.go_on = Event()
        self._step = joint_module.step
        monkeypatch.setattr(joint_module, "step", self)

    def __call__(self, running: Sequence[tuple[Party, Learner]]) -> None:
        self.made.append([learner.candidate.key for _, learner in running])
        self._step(running)
        assert self.go_on.wait(30)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


def party(
    base: Base,
    course: Course,
    *candidates: Candidate,
    alone: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Party:
    material = Material.of(base, course)
    return Party(base, material, candidates, len(candidates), should_stop, Progress(0, None), alone=alone)


def alone(base: Base, course: Course, candidate: Candidate) -> TrainedCandidate:
    return train_candidates(base, [candidate], course)[0]


def trained_beside(
    steps: Steps, pool: ThreadPoolExecutor, first: Party, second: Party
) -> tuple[list[TrainedCandidate], list[TrainedCandidate]]:
    """What becomes of two parties of which the second comes during the first one's first step."""
    joint = Joint()
    training = pool.submit(joint.train, first)
    until(lambda: bool(steps.made))
    beside = pool.submit(joint.train, second)
    until(lambda: not joint.has_room)
    steps.go_on.set()
    return training.result(60), beside.result(60)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        Event().wait(0.01)


@pytest.mark.parametrize("first_is_longer", [True, False])
def test_parties_that_come_and_go_end_with_the_weights_each_would_have_alone(
    base: Base, steps: Steps, pool: ThreadPoolExecutor, first_is_longer: bool
) -> None:
    courses = (LONG, SHORT) if first_is_longer else (SHORT, LONG)
    joint = Joint()
    first = pool.submit(joint.train, party(base, courses[0], CANDIDATE))
    until(lambda: bool(steps.made))
    second = pool.submit(joint.train, party(base, courses[1], UPPER, COMPANY[0]))
    until(lambda: not joint.has_room)
    steps.go_on.set()
    (mine,), others = first.result(60), second.result(60)

    assert steps.made[0] == [CANDIDATE.key]
    assert [CANDIDATE.key, UPPER.key, COMPANY[0].key] in steps.made
    assert steps.made[-1] == ([CANDIDATE.key] if first_is_longer else [UPPER.key, COMPANY[0].key])
    assert_same_weights(mine, alone(base, courses[0], CANDIDATE))
    for candidate, other in zip((UPPER, COMPANY[0]), others, strict=True):
        assert_same_weights(other, alone(base, courses[1], candidate))
    assert not joint.has_room


def test_what_lies_below_all_of_several_courses_is_taken_from_each(
    base: Base, steps: Steps, pool: ThreadPoolExecutor
) -> None:
    other = Candidate("other upper", UPPER.configuration, seed=77)
    (first,), (second,) = trained_beside(steps, pool, party(base, LONG, UPPER), party(base, SHORT, other))
    assert_same_weights(first, alone(base, LONG, UPPER))
    assert_same_weights(second, alone(base, SHORT, other))


def test_courses_of_unlike_settings_are_each_learned_by_their_own(
    base: Base, steps: Steps, pool: ThreadPoolExecutor
) -> None:
    unlike = replace(SHORT, settings=replace(SETTINGS, label_smoothing=0.3, prompt_loss_weight=0.5))
    (first,), (second,) = trained_beside(steps, pool, party(base, LONG, CANDIDATE), party(base, unlike, UPPER))
    assert_same_weights(first, alone(base, LONG, CANDIDATE))
    assert_same_weights(second, alone(base, unlike, UPPER))
    assert [CANDIDATE.key, UPPER.key] in steps.made


@pytest.mark.parametrize("the_driver_stops", [True, False])
def test_one_that_is_told_to_stop_leaves_and_the_other_goes_on(
    base: Base, steps: Steps, pool: ThreadPoolExecutor, the_driver_stops: bool
) -> None:
    stop, joint = Event(), Joint()
    told = [lambda: stop.is_set() and the_driver_stops, lambda: stop.is_set() and not the_driver_stops]
    first = pool.submit(joint.train, party(base, LONG, CANDIDATE, should_stop=told[0]))
    until(lambda: bool(steps.made))
    second = pool.submit(joint.train, party(base, LONG, UPPER, should_stop=told[1]))
    until(lambda: not joint.has_room)
    stop.set()
    steps.go_on.set()
    stopped, other = (first, second) if the_driver_stops else (second, first)
    with pytest.raises(TrainingStoppedError):
        stopped.result(60)
    assert_same_weights(other.result(60)[0], alone(base, LONG, UPPER if the_driver_stops else CANDIDATE))


def test_a_step_that_fails_fails_for_all_and_one_alone_is_trained_with_nobody_beside_it(
    base: Base, steps: Steps, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint, step = Joint(), joint_module.step

    def limited(running: Sequence[tuple[Party, Learner]]) -> None:
        if len(running) > 1:
            raise torch.OutOfMemoryError
        step(running)

    monkeypatch.setattr(joint_module, "step", limited)
    first = pool.submit(joint.train, party(base, LONG, CANDIDATE))
    until(lambda: bool(steps.made))
    second = pool.submit(joint.train, party(base, SHORT, UPPER))
    until(lambda: not joint.has_room)
    steps.go_on.set()
    for failed in (first, second):
        assert is_out_of_memory(failed.exception(60))  # type: ignore[arg-type]

    again = [pool.submit(joint.train, party(base, LONG, one, alone=True)) for one in (CANDIDATE, UPPER)]
    joining = pool.submit(joint.train, party(base, SHORT, COMPANY[0]))
    for candidate, course, trained in zip(
        (CANDIDATE, UPPER, COMPANY[0]), (LONG, LONG, SHORT), (*again, joining), strict=True
    ):
        assert_same_weights(trained.result(60)[0], alone(base, course, candidate))


def test_an_accelerator_has_room_for_another_party_while_one_is_trained(
    base: Base, steps: Steps, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnAccelerator:
        device = torch.device("cuda")

    accelerated: Any = OnAccelerator()
    assert not has_room(accelerated)
    monkeypatch.setitem(training._joint, accelerated, joint := Joint())
    assert not has_room(accelerated)
    first = pool.submit(joint.train, party(base, SHORT, CANDIDATE))
    until(lambda: bool(steps.made))
    assert has_room(accelerated)
    second = pool.submit(joint.train, party(base, SHORT, UPPER))
    until(lambda: not has_room(accelerated))
    steps.go_on.set()
    assert first.result(60)[0].complete
    assert second.result(60)[0].complete
    assert not has_room(accelerated)


def test_one_that_waits_to_be_alone_can_be_stopped_and_then_holds_up_nobody(
    base: Base, steps: Steps, pool: ThreadPoolExecutor
) -> None:
    joint = Joint()
    first = pool.submit(joint.train, party(base, SHORT, CANDIDATE))
    until(lambda: bool(steps.made))
    assert joint.has_room
    with pytest.raises(TrainingStoppedError):
        joint.train(party(base, SHORT, UPPER, alone=True, should_stop=lambda: True))
    assert joint.has_room
    steps.go_on.set()
    assert first.result(60)[0].complete
    assert joint.train(party(base, SHORT, UPPER))[0].complete
