"""One API process's part in forgetting: it is known while it runs, drops what was erased, says so, and completes
erasures that nobody holds any more.

Its memory is trusted for as long as its lease lasts only: a process that cannot renew it drops everything, so whoever
waits for its word need not wait longer than that. Knows no HTTP.
"""

from __future__ import annotations

import os
import time
from threading import Lock

import structlog

from adapters_store.store import AdapterStore
from app.answers.memory import MemoryCache
from app.answers.runtime import AnsweringRuntime
from app.database import Database
from app.erasure_states import HolderState
from app.erasure_tables import Erasure
from app.errors import DatabaseAwayError
from app.forgetting import receipts
from app.forgetting.presence import Presence, Visit
from app.process_name import process_name
from app.repositories import erasures, processes, versions
from app.repositories.clock import database_now

LEASE_SECONDS = 60.0
"""How long an erasure waits for a process that was killed, at most."""
_RENEW_SECONDS = LEASE_SECONDS / 3

log = structlog.get_logger(__name__)


class Forgetter:
    """Threads may share it: the routes that erase and the one that keeps house."""

    def __init__(
        self,
        database: Database,
        store: AdapterStore,
        runtime: AnsweringRuntime,
        memory: MemoryCache,
        presence: Presence,
    ) -> None:
        self._database = database
        self._store = store
        self._runtime = runtime
        self._memory = memory
        self._presence = presence
        self._lock = Lock()
        self._process_id: str | None = None
        self._renewed_at = 0.0
        self._before: dict[str, frozenset[Visit]] = {}
        """Of each erasure, the requests that had begun when this process learned of it."""

    def enter(self) -> None:
        """Be known from now on: whoever erases something waits for this process too.

        Raises:
            DatabaseAwayError.
        """
        with self._lock:
            self._stay_known()

    def look(self) -> None:
        """Renew the lease, drop what was erased, complete what is forgotten everywhere. Call it every few seconds.

        Raises:
            DatabaseAwayError: and if the lease may have run out by now, everything was dropped.
        """
        with self._lock:
            try:
                self._stay_known()
            except DatabaseAwayError:
                if time.monotonic() - self._renewed_at > LEASE_SECONDS - _RENEW_SECONDS:
                    self._drop_everything()
                raise
            self._confirm()
            self._complete()

    def leave(self) -> None:
        """The process ends, and its memory with it."""
        with self._lock:
            if self._process_id is None:
                return
            with self._database.write() as session:
                erasures.confirm(session, self._process_id, HolderState.ended)
                processes.remove(session, self._process_id)
            self._process_id = None

    def _stay_known(self) -> None:
        if self._process_id is not None and time.monotonic() - self._renewed_at < _RENEW_SECONDS:
            return
        asked = time.monotonic()
        with self._database.write() as session:
            processes.remove_silent(session, database_now(session))
            if self._process_id is None or not processes.renew(session, self._process_id, LEASE_SECONDS):
                # Whatever was erased while this process was not known, it was not asked to drop.
                self._drop_everything()
                name = process_name(os.getpid())
                self._process_id = processes.register(session, name, LEASE_SECONDS).id
        self._renewed_at = asked

    def _confirm(self) -> None:
        """Drop what was erased, once the requests that may still have read it are over."""
        assert self._process_id is not None  # noqa: S101 - `_stay_known` came before
        with self._database.read() as session:
            asked = erasures.waiting_for(session, self._process_id)
        for erasure in asked:
            before = self._before.setdefault(erasure.id, self._presence.now(erasure.folder))
            if not self._presence.ended(erasure.folder, before):
                continue
            self._runtime.forget(f"{erasure.folder}/")
            self._memory.forget(erasure.folder)
            with self._database.write() as session:
                erasures.confirm(session, self._process_id, HolderState.forgot, erasure.id)
            del self._before[erasure.id]

    def _complete(self) -> None:
        with self._database.read() as session:
            if not erasures.unfinished(session):
                return
        with self._database.write() as session:
            erasures.let_lapse(session, database_now(session))
            forgotten = erasures.held_by_nobody(session)
        for erasure in forgotten:
            if self._sweep(erasure) and self._database.wipe_deleted():
                self._finish(erasure)

    def _sweep(self, erasure: Erasure) -> bool:
        """Remove what a worker put into the store after the files were deleted. False: not now."""
        with self._database.read() as session:
            if erasures.is_at_work_again(session, erasure.tenant_id, erasure.folder):
                return False
            known = versions.paths_in(session, erasure.tenant_id, erasure.folder)
        for path in self._store.versions_in(erasure.folder):
            if path not in known:
                self._store.erase_version(path)
                log.info("late_version_erased", erasure=erasure.id)
        return True

    def _finish(self, erasure: Erasure) -> None:
        with self._database.write() as session:
            if not erasures.complete(session, erasure):
                return
            done = erasures.get_erasure(session, erasure.tenant_id, erasure.id)
            done.receipt = receipts.signed(session, done)
        log.info("erasure_complete", erasure=erasure.id)

    def _drop_everything(self) -> None:
        self._runtime.forget("")
        self._memory.clear()
        self._before.clear()
