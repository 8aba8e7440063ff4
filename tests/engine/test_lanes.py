"""Spreading candidates over threads: the same results in the same order, and one failure ends all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest
import torch

from engine.base import Base
from engine.configuration import Configuration
from engine.cores import CORES
from engine.errors import TrainingStoppedError
from engine.evaluation import evaluate_stacks
from engine.history import Sample
from engine.lanes import spread
from engine.training import Candidate, Course, train_candidates
from tests.engine.conftest import random_stack
from tests.engine.test_training import CANDIDATE, COMPANY, HISTORY, SETTINGS, assert_same_weights


@pytest.fixture
def two_threads(tiny_base: Callable[[str], Base], small_base: Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for base in (tiny_base("llama"), small_base):
        monkeypatch.setattr(base, "threads", 2)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_candidates_trained_in_lanes_end_as_each_does_alone(tiny_base: Callable[[str], Base]) -> None:
    base, steps = tiny_base("llama"), []
    candidates = [CANDIDATE, *COMPANY[:3], Candidate("base", Configuration.base(3), 0)]
    together = train_candidates(base, candidates, Course(HISTORY, SETTINGS), on_step=lambda *told: steps.append(told))

    assert [result.key for result in together] == [candidate.key for candidate in candidates]
    for candidate, result in zip(candidates, together, strict=True):
        assert_same_weights(result, train_candidates(base, [candidate], Course(HISTORY, SETTINGS))[0])
    assert steps == [(done, 32) for done in range(1, 33)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_stacks_scored_in_lanes_score_as_each_does_alone(small_base: Base) -> None:
    stacks = [None, *(random_stack(small_base, Configuration((True,) * 12, 1, 8), seed=i) for i in range(2))]

    def scores(chosen: Sequence[object]) -> list[object]:
        return list(
            evaluate_stacks(
                small_base,
                chosen,  # type: ignore[arg-type]
                [Sample("hello", "good day"), Sample("how are you?", "fine")],
                train=HISTORY,
                profile="",
                max_new_tokens=6,
                max_sequence_tokens=64,
            )
        )

    assert [s.responses for s in scores(stacks)] == [scores([s])[0].responses for s in stacks]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("two_threads")
def test_items_really_run_side_by_side(tiny_base: Callable[[str], Base]) -> None:
    met, threads = [Event(), Event()], set()

    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[int]:
        (item,) = group
        threads.add(get_ident())
        met[item].set()
        assert met[1 - item].wait(30)
        return [10 * item]

    assert spread(tiny_base("llama"), [0, 1], work, lambda: False) == [0, 10]
    assert len(threads) == 2


@pytest.mark.usefixtures("two_threads")
def test_the_first_failure_stops_the_other_lanes_and_is_the_one_raised(tiny_base: Callable[[str], Base]) -> None:
    stopped = Event()

    def work(group: Sequence[int], stop: Callable[[], bool]) -> list[int]:
        if group[0] == 1:
            raise ValueError("lane 1 broke")
        while not stop():
            pass
        stopped.set()
        raise InterruptedError("told to stop")

    with pytest.raises(ValueError, match="lane 1 broke"):
        spread(tiny_base("llama"), [0, 1, 2], work, lambda: False)
    assert stopped.is_set()


def test_an_accelerator_gets_all_items_in_one_group() -> None:
    class OnAccelerator:
        device = torch.device("cuda")

    groups: list[int] = []

    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[int]:
        groups.append(len(group))
        return list(group)

    assert spread(OnAccelerator(), [1, 2, 3], work, lambda: False) == [1, 2, 3]  # type: ignore[arg-type]
    assert groups == [3]


@pytest.mark.usefixtures("two_threads")
def test_work_of_two_threads_shares_the_cores_and_what_began_first_goes_first(tiny_base: Callable[[str], Base]) -> None:
    base, order, running, most = tiny_base("llama"), list[str](), list[str](), list[int]()
    began, go_on = Event(), Event()

    def work(group: Sequence[str], _stop: Callable[[], bool]) -> list[str]:
        order.append(group[0])
        running.append(group[0])
        most.append(len(running))
        if len(order) == 2:
            began.set()
        assert go_on.wait(30)
        running.remove(group[0])
        return list(group)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(spread, base, ["a1", "a2", "a3"], work, lambda: False)
        assert began.wait(30)
        assert not CORES.are_idle
        second = pool.submit(spread, base, ["b1", "b2"], work, lambda: False)
        while CORES.waiting < 3:
            Event().wait(0.01)
        go_on.set()
        assert (first.result(30), second.result(30)) == (["a1", "a2", "a3"], ["b1", "b2"])
    assert sorted(order[:2]) == ["a1", "a2"]
    assert order[2] == "a3"
    assert max(most) <= 2
    assert not CORES.are_idle


@pytest.mark.usefixtures("two_threads")
def test_cores_are_idle_where_less_is_left_to_do_than_there_are(tiny_base: Callable[[str], Base]) -> None:
    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[bool]:
        return [CORES.are_idle for _ in group]

    assert spread(tiny_base("llama"), [0], work, lambda: False) == [True]


@pytest.mark.usefixtures("two_threads")
def test_work_that_waits_for_a_core_can_be_stopped(tiny_base: Callable[[str], Base]) -> None:
    base, go_on = tiny_base("llama"), Event()

    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[int]:
        assert go_on.wait(30)
        return list(group)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(spread, base, [0, 1], work, lambda: False)
        while CORES.busy < 2:
            Event().wait(0.01)
        with pytest.raises(TrainingStoppedError):
            spread(base, [2], work, lambda: True)
        go_on.set()
        assert busy.result(30) == [0, 1]
