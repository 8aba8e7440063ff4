"""Running out of memory: it is known as such, groups are halved, and who does not fit alone fails alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch

from engine import joint
from engine.base import Base
from engine.errors import DoesNotFitError
from engine.lanes import spread
from engine.learner import Learner
from engine.out_of_memory import is_out_of_memory
from engine.party import Party
from engine.training import Candidate, Course, train_candidates
from tests.engine.test_training import CANDIDATE, COMPANY, HISTORY, SETTINGS, assert_same_weights


class OnAccelerator:
    """As much of a base as spreading looks at."""

    device = torch.device("cuda")


def asked_for_too_much() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (asked_for_too_much(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_torch_says_when_memory_does_not_suffice_is_known(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_a_group_that_does_not_fit_is_halved_until_it_does() -> None:
    sizes: list[int] = []

    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[int]:
        sizes.append(len(group))
        if len(group) > 2:
            raise torch.OutOfMemoryError
        return [10 * item for item in group]

    assert spread(OnAccelerator(), [0, 1, 2, 3, 4], work, lambda: False) == [0, 10, 20, 30, 40]  # type: ignore[arg-type]
    assert sizes == [5, 2, 3, 1, 2]


def test_lanes_that_run_out_of_memory_run_again_with_fewer_beside_them(
    tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, asked, threads = tiny_base("llama"), Counter[int](), torch.get_num_threads()
    monkeypatch.setattr(base, "threads", 2)

    def work(group: Sequence[int], _stop: Callable[[], bool]) -> list[int]:
        asked.update(group)
        if group[0] == 3 or (group[0] == 1 and asked[1] == 1):
            raise MemoryError
        return [10 * group[0]]

    try:
        assert spread(base, [0, 1, 2, 3], work, lambda: False, lambda item: -item) == [0, 10, 20, -3]
        assert asked[0] == asked[2] == 1
        with pytest.raises(DoesNotFitError, match="smaller batch_size"):
            spread(base, [3], work, lambda: False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_candidate_that_does_not_fit_even_alone_fails_and_the_others_end_as_ever(
    tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, told = tiny_base("llama"), list[tuple[int, int]]()
    large = Candidate("large", COMPANY[0].configuration, seed=5)
    step = joint.step

    def limited(running: Sequence[tuple[Party, Learner]]) -> None:
        if any(learner.candidate.key == "large" and len(learner.losses) == 2 for _, learner in running):
            raise asked_for_too_much()
        step(running)

    monkeypatch.setattr(joint, "step", limited)
    course = Course(HISTORY, SETTINGS)
    failed, healthy = train_candidates(base, [large, CANDIDATE], course, on_step=lambda *done: told.append(done))
    assert (failed.stack, failed.fits, failed.complete) == (None, False, False)
    assert "memory does not suffice" in str(failed.error)
    assert healthy.fits
    assert_same_weights(healthy, train_candidates(base, [CANDIDATE], course)[0])
    # What was done in vain is not counted.
    assert max(done for done, _ in told) <= told[-1][1]
