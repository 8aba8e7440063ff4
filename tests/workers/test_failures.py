"""What errors of a step mean for its job: whether it is tried again, and the code and words a user gets."""

from __future__ import annotations

import pytest

from adapters_store.errors import StoreError
from app.errors import DatabaseAwayError, UserNotFoundError
from engine.errors import (
    BaseModelError,
    DoesNotFitError,
    EngineError,
    HistoryTooShortError,
    StackMismatchError,
    UnknownArchitectureError,
)
from workers.failures import StepFailedError, classify
from workers.search.errors import SurrogateUnavailableError


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (StepFailedError("history_deleted", "Start again."), "history_deleted", False),
        (HistoryTooShortError("too few"), "history_too_short", False),
        (BaseModelError("no model there."), "base_model_unusable", False),
        (UnknownArchitectureError("no projections."), "base_model_unusable", False),
        (StackMismatchError("not finite."), "engine_failed", False),
        (SurrogateUnavailableError("needs JAX"), "surrogate_unavailable", False),
        (StoreError("disk full"), "store_unavailable", True),
        (EngineError("no such thing"), "engine_failed", False),
        (DatabaseAwayError("gone"), "database_unavailable", True),
        (UserNotFoundError("gone"), "user_not_found", False),
        (MemoryError("full"), "out_of_memory", True),
        (DoesNotFitError("one stack"), "out_of_memory", True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", True),
        (KeyError("secret"), "internal_error", True),
    ],
)
def test_each_error_has_a_code_and_is_retried_only_where_that_may_help(
    error: Exception, code: str, retry: bool
) -> None:
    failure = classify(error)
    assert (failure.code, failure.retry) == (code, retry)
    assert len(failure.detail) > 3


def test_an_accelerator_out_of_memory_is_told_as_such() -> None:
    import torch

    failure = classify(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB at 0x7f"))
    assert failure.code == "out_of_memory"
    assert "MILP_TRIALS_PER_STEP" in failure.detail


def test_a_surrogate_that_is_not_installed_is_told_with_what_to_install() -> None:
    failure = classify(SurrogateUnavailableError("it needs JAX: install 'milp-serve[fully-bayesian]'"))
    assert "milp-serve[fully-bayesian]" in failure.detail


def test_what_nobody_foresaw_tells_the_user_nothing_of_our_insides() -> None:
    failure = classify(KeyError("patient wrote: I have diabetes"))
    assert failure.unexpected
    assert "diabetes" not in failure.detail
    assert "KeyError" not in failure.detail
