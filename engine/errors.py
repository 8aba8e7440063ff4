"""What can go wrong in the engine, as one tree. Each message says what to do.

Must not know HTTP: `app.problems` maps these to status codes.
"""

from __future__ import annotations


class EngineError(Exception):
    """Root of everything the engine raises on purpose."""


class BaseModelError(EngineError):
    """The base model cannot be loaded from where it was named."""


class UnknownArchitectureError(BaseModelError):
    """The base's feed-forward projections could not be found."""


class HistoryTooShortError(EngineError):
    """Too few samples to split into train, validation and test."""


class TrainingStoppedError(EngineError):
    """The caller asked the training to stop (job cancelled, lease lost)."""


class DoesNotFitError(EngineError):
    """Memory does not suffice for a single stack, worked on alone."""


class StackMismatchError(EngineError):
    """A stack does not fit the base: other projections, other shapes, or another base's digest."""


class QueueFullError(EngineError):
    """No place for another answer at present. `retry_after_seconds` says when to try again."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[type[QueueFullError], tuple[str, float]]:
        return type(self), (str(self), self.retry_after_seconds)


class PromptTooLongError(EngineError):
    """Prompt and answer together do not fit the base's context."""
