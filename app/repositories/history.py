"""Histories: a user's samples, each kept once, in time order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import bindparam, delete, func, insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.errors import SampleNotFoundError, TooManySamplesError
from app.repositories.paging import Page, page
from app.repositories.text import check_text
from app.repositories.users import lock_user
from app.tables import SampleRow, now
from engine.history import Sample

_IDS_PER_QUERY = 5_000
"""SQLite takes at most 32,766 values in one statement."""

_GIVEN = (SampleRow.tenant_id == bindparam("tenant"), SampleRow.user_id == bindparam("user_id"))
# Made once: every history that comes in asks the first, every answer with a memory prompt the second.
_DIGESTS = select(SampleRow.digest).where(*_GIVEN)
_EXTENT = select(func.count(col(SampleRow.id)), func.max(col(SampleRow.id))).where(*_GIVEN)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Added:
    """What became of an import: new samples, those the user had already, and how many there are now."""

    added: int
    duplicates: int
    total: int


class Extent(NamedTuple):
    """How many samples a history has, and the id of the one that was added last (0: none)."""

    samples: int
    newest: int


def sample_digest(query: str, response: str) -> str:
    """SHA-256 (hex) of the pair. Whitespace does not count: runs of it are one space, none at the ends."""
    parts = [" ".join(text.split()) for text in (query, response)]
    # The separator cannot occur in a part, for whitespace was normalised.
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def add_samples(session: Session, tenant: str, user_id: str, samples: Sequence[Sample], limit: int) -> Added:
    """Add what the user does not have yet. A sample without a time happened when it is received, after those
    before it; one without a time zone is taken as UTC.

    Raises:
        UserNotFoundError: there is no such user.
        TooManySamplesError: the user would have more than `limit`. Nothing is added.
        InvalidEncodingError: a sample cannot be kept as text. Nothing is added.
    """
    for number, sample in enumerate(samples):
        check_text(f"Sample {number}", sample.query + sample.response)
    lock_user(session, tenant, user_id)
    known = set(digests(session, tenant, user_id))
    before, received, rows = len(known), now(), []
    for sample in samples:
        digest = sample_digest(sample.query, sample.response)
        if digest not in known:
            known.add(digest)
            rows.append(_values(tenant, user_id, digest, sample, received))
    if len(known) > limit:
        raise TooManySamplesError(
            f"This user would have {len(known)} samples; at most {limit} are kept (MILP_MAX_HISTORY_SAMPLES). "
            "Send fewer, or delete the history first. Nothing was added."
        )
    if rows:
        session.connection().execute(insert(SampleRow), rows)
    return Added(added=len(rows), duplicates=len(samples) - len(rows), total=before + len(rows))


def samples_in_order(session: Session, tenant: str, user_id: str) -> list[SampleRow]:
    """The whole history, oldest first; samples of one time in order of arrival."""
    statement = _of_user(select(SampleRow), tenant, user_id)
    return list(session.exec(statement.order_by(col(SampleRow.happened_at), col(SampleRow.id))))


def samples_by_ids(session: Session, tenant: str, ids: Sequence[int]) -> list[SampleRow]:
    """The samples with these ids, in the order of the ids; those deleted meanwhile are left out."""
    found: dict[int | None, SampleRow] = {}
    for some in _chunks(ids, _IDS_PER_QUERY):
        statement = select(SampleRow).where(SampleRow.tenant_id == tenant, col(SampleRow.id).in_(some))
        found.update({row.id: row for row in session.exec(statement)})
    return [found[i] for i in ids if i in found]


def page_samples(session: Session, tenant: str, user_id: str, cursor: str | None, limit: int) -> Page[SampleRow]:
    """The history, oldest first. Raises: InvalidCursorError."""
    return page(
        session,
        _of_user(select(SampleRow), tenant, user_id),
        [SampleRow.happened_at, SampleRow.id],
        lambda row: [row.happened_at, row.id or 0],
        [datetime, int],
        cursor=cursor,
        limit=limit,
    )


def extent(session: Session, tenant: str, user_id: str) -> Extent:
    """How far the history goes. Samples are added and deleted, never changed: another history has another extent."""
    count, newest = session.exec(_EXTENT, params={"tenant": tenant, "user_id": user_id}).one()
    return Extent(count, newest or 0)


def count_samples(session: Session, tenant: str, user_id: str) -> int:
    return session.exec(_of_user(select(func.count(col(SampleRow.id))), tenant, user_id)).one()


def get_sample(session: Session, tenant: str, user_id: str, sample_id: int) -> SampleRow:
    """Raises: SampleNotFoundError."""
    row = session.exec(_of_user(select(SampleRow), tenant, user_id).where(SampleRow.id == sample_id)).one_or_none()
    if row is None:
        raise SampleNotFoundError(
            f"User '{user_id}' has no sample {sample_id}. GET /v1/users/{user_id}/history lists them."
        )
    return row


def delete_sample(session: Session, row: SampleRow) -> None:
    """Delete one sample."""
    session.delete(row)
    session.flush()


def ids_by_digest(session: Session, tenant: str, user_id: str) -> dict[str, int]:
    """The ids of the user's samples by their digests."""
    statement = select(SampleRow.digest, SampleRow.id).where(
        SampleRow.tenant_id == tenant, SampleRow.user_id == user_id
    )
    return {digest: sample_id or 0 for digest, sample_id in session.exec(statement)}


def digests(session: Session, tenant: str, user_id: str) -> list[str]:
    """The digest of each sample, in no order."""
    return list(session.exec(_DIGESTS, params={"tenant": tenant, "user_id": user_id}))


def delete_history(session: Session, tenant: str, user_id: str) -> int:
    """Delete every sample of the user, and say how many there were. Jobs and versions stay."""
    result = session.exec(
        delete(SampleRow).where(col(SampleRow.tenant_id) == tenant, col(SampleRow.user_id) == user_id),
        execution_options={"synchronize_session": False},
    )
    return result.rowcount


def to_sample(row: SampleRow) -> Sample:
    """The sample as it came in: without a time where none was given."""
    return Sample(row.query, row.response, row.happened_at if row.time_given else None, row.kind)


def _of_user(statement: SelectOfScalar[T], tenant: str, user_id: str) -> SelectOfScalar[T]:
    return statement.where(SampleRow.tenant_id == tenant, SampleRow.user_id == user_id)


def _values(tenant: str, user_id: str, digest: str, sample: Sample, received: datetime) -> dict[str, Any]:
    time = sample.time
    if time is not None and time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return {
        "tenant_id": tenant,
        "user_id": user_id,
        "digest": digest,
        "query": sample.query,
        "response": sample.response,
        "kind": sample.kind,
        "happened_at": time or received,
        "time_given": time is not None,
    }


def _chunks(ids: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
