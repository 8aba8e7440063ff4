"""The parts of a job's history, as the first plan step fixed them. Must not know the base or the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from app.repositories import history, users
from app.tables import Job, SampleRow
from engine.history import Sample, Split, split_in_time
from workers.failures import StepFailedError


@dataclass(frozen=True)
class JobHistory:
    """What a job learns from, and how it is measured.

    Args:
        split: samples of train, validation and test, each in time order.
        learned_digests: digests of the train and validation samples, kept with a published stack.
        profile: the user's profile facts; may be empty.
    """

    split: Split[Sample]
    learned_digests: list[str]
    profile: str

    @property
    def learned(self) -> tuple[Sample, ...]:
        """What a published stack is taught: all that happened before the test part."""
        return (*self.split.train, *self.split.validation)

    def turned(self) -> JobHistory:
        """The same history with as many other samples held out, the latest of the train part: nothing was chosen by
        them. Those of the validation part are learned in their place."""
        train, validation = self.split.train, self.split.validation
        cut = len(train) - len(validation)
        return replace(self, split=replace(self.split, train=(*train[:cut], *validation), validation=train[cut:]))


def split_history(session: Session, job: Job, min_samples: int) -> dict[str, list[int]]:
    """The ids of the user's samples in train, validation and test, as the history is now.

    Raises:
        HistoryTooShortError: fewer than `min_samples`.
    """
    rows = history.samples_in_order(session, job.tenant_id, job.user_id)
    split = split_in_time([row.id or 0 for row in rows], min_samples)
    return {"train": list(split.train), "validation": list(split.validation), "test": list(split.test)}


def load_history(session: Session, job: Job) -> JobHistory:
    """The samples of the job's split, whatever was added to the history since.

    Raises:
        StepFailedError: `history_deleted`, samples of the split are gone.
        UserNotFoundError: the user was deleted; so is the job.
    """
    parts = job.split or {}
    train, validation, test = (_rows(session, job, parts[name]) for name in ("train", "validation", "test"))
    samples = Split(*(tuple(map(history.to_sample, rows)) for rows in (train, validation, test)))
    profile = users.get_user(session, job.tenant_id, job.user_id).profile
    return JobHistory(samples, [row.digest for row in (*train, *validation)], profile)


def _rows(session: Session, job: Job, ids: Sequence[int]) -> list[SampleRow]:
    rows = history.samples_by_ids(session, job.tenant_id, ids)
    if len(rows) < len(ids):
        raise StepFailedError(
            "history_deleted",
            f"{len(ids) - len(rows)} samples this job was learning from were deleted while it ran. "
            "Nothing of them is kept; send a history and start again.",
        )
    return rows
