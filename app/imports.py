"""A converted file taken in: each user's history by the same intake as any other, all or nothing per user.

Knows no HTTP and no format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlmodel import Session

from app.access import audit
from app.access.audit import Deed
from app.access.identity import Identity
from app.errors import InvalidImportError, InvalidInputError, TooManyJobsError, UserBeingErasedError
from app.importers.formats import FormatName, convert
from app.importers.given import Given
from app.importers.reading import Source
from app.importers.result import Imported, ImportedUser, Limits
from app.importing import Import
from app.intake import take_in
from app.schemas.imports import DroppedOut, ImportDone, ImportedUserOut, UserRefused
from app.settings import Settings

MOST_USERS = 500
"""Of one file. They are stored in one transaction, for one Idempotency-Key; at some 20 ms a user, job included, more
would keep SQLite's other writers waiting for as long as these wait at all."""


@dataclass(frozen=True, slots=True)
class FileGiven:
    """A file to import, as it came."""

    format: FormatName
    file: Source
    second: Source | None = None
    user: str | None = None
    personalize: Literal["auto"] | bool = "auto"


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.max_sample_chars, settings.max_profile_chars)


def converted(given: FileGiven, settings: Settings) -> Imported:
    """The file's users.

    Raises:
        InvalidImportError: it is not of its format, or has too many users; and what `convert` raises.
    """
    imported = convert(given.format, Given(given.file, limits_of(settings), given.second, given.user))
    if len(imported.users) > MOST_USERS:
        raise InvalidImportError(
            f"The file has {len(imported.users)} users; {MOST_USERS} are taken at once. Send it in parts, or with "
            "`milp import`, which sends one user after the other."
        )
    return imported


def take_in_all(
    session: Session, by: Identity, deed: Deed, imported: Imported, given: FileGiven, settings: Settings
) -> ImportDone:
    """Store every user's history that can be stored, and start the jobs. The audit log has an entry for each user."""
    # In one order for all requests: two that meet would else wait for each other's users.
    order = sorted(imported.users, key=lambda user: user.user_id)
    outcome = {user.name: _taken_in(session, by, deed.on(user.user_id), user, given, settings) for user in order}
    return ImportDone(
        format=given.format,
        users_are=imported.users_are,
        users=[outcome[user.name] for user in imported.users],
        dropped=[
            DroppedOut(reason=dropped.reason, count=dropped.count, place=imported.place, first=list(dropped.first))
            for dropped in imported.dropped
        ],
    )


def _taken_in(
    session: Session, by: Identity, deed: Deed, user: ImportedUser, given: FileGiven, settings: Settings
) -> ImportedUserOut:
    history = Import(list(user.samples), user.profile, given.personalize)
    try:
        with session.begin_nested():
            added = take_in(session, by, user.user_id, history, settings)
    except (InvalidInputError, TooManyJobsError, UserBeingErasedError) as error:
        audit.not_done(session, deed, error.code)
        refused = UserRefused(code=error.code, detail=error.detail)
        return ImportedUserOut(
            user_id=user.user_id,
            name=user.name,
            added=0,
            duplicates=0,
            total=None,
            job_id=None,
            job_skipped=None,
            error=refused,
        )
    audit.done(session, deed)
    return ImportedUserOut(
        user_id=user.user_id,
        name=user.name,
        added=added.added,
        duplicates=added.duplicates,
        total=added.total,
        job_id=added.job.id if added.job else None,
        job_skipped=added.job_skipped,
        error=None,
    )
