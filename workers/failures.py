"""What an error in a step means for its job: try again, or end it, and what the user is told.

A user never sees a traceback: it goes to the worker's log.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters_store.errors import StoreError
from app.errors import HistoryTooShortError as HistoryTooShort
from app.errors import ServiceError, StoreFailedError, UnavailableError
from engine.errors import BaseModelError, DoesNotFitError, EngineError, HistoryTooShortError
from engine.out_of_memory import is_out_of_memory
from workers.search.errors import SurrogateUnavailableError


class StepFailedError(Exception):
    """A step found that its job cannot end well. `code` is stable, `detail` says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Failure:
    """`retry` tells whether another attempt may go better; `unexpected`, whether the log needs the traceback."""

    code: str
    detail: str
    retry: bool = False
    unexpected: bool = False


_out_of_memory = Failure(
    "out_of_memory",
    "The worker ran out of memory. Lower MILP_TRIALS_PER_STEP, or the job's batch_size, and start again.",
    retry=True,
    unexpected=True,
)


def classify(error: Exception) -> Failure:
    """What `error`, raised by a step, means for the job."""
    match error:
        case StepFailedError():
            return Failure(error.code, error.detail)
        case HistoryTooShortError():
            return Failure(HistoryTooShort.code, str(error))
        case BaseModelError():
            return Failure("base_model_unusable", f"{error} Then start the job again.")
        case SurrogateUnavailableError():
            return Failure("surrogate_unavailable", f"{error}. Then start the job again.")
        case StoreError():
            return Failure(StoreFailedError.code, str(error), retry=True)
        case DoesNotFitError():
            return _out_of_memory
        case EngineError():
            return Failure("engine_failed", str(error))
        case UnavailableError():
            return Failure(error.code, error.detail, retry=True)
        case ServiceError():
            return Failure(error.code, error.detail)
        case _ if is_out_of_memory(error):
            return _out_of_memory
        case _:
            detail = "A step of the job failed for a reason on our side; the worker's log has the details."
            return Failure("internal_error", detail, retry=True, unexpected=True)
