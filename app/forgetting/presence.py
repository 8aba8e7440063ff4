"""Which requests of which user this process is at: what they read of the user may be in its memory until they end.

Knows no HTTP and no database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock

from adapters_store import layout


@dataclass(frozen=True, eq=False, slots=True)
class Visit:
    """One request about one user, from its beginning to its end."""

    folder: str


class Presence:
    """Requests in the making, by the user's folder. Threads may share it."""

    def __init__(self) -> None:
        self._visits: defaultdict[str, set[Visit]] = defaultdict(set)
        self._lock = Lock()

    def enter(self, tenant: str, user_id: str) -> Visit:
        """A request about this user begins; give what this returns to `leave` when it has ended."""
        visit = Visit(layout.user_folder(tenant, user_id))
        with self._lock:
            self._visits[visit.folder].add(visit)
        return visit

    def leave(self, visit: Visit) -> None:
        with self._lock:
            self._visits[visit.folder].discard(visit)
            if not self._visits[visit.folder]:
                del self._visits[visit.folder]

    @contextmanager
    def of(self, tenant: str, user_ids: Iterable[str]) -> Iterator[None]:
        """A request about these users, for as long as the block runs."""
        with ExitStack() as stack:
            for user_id in user_ids:
                stack.callback(self.leave, self.enter(tenant, user_id))
            yield

    def now(self, folder: str) -> frozenset[Visit]:
        """The requests about this user that have begun and not ended."""
        with self._lock:
            return frozenset(self._visits.get(folder, ()))

    def ended(self, folder: str, visits: frozenset[Visit]) -> bool:
        """Whether all of these requests about this user have ended."""
        return not visits & self.now(folder)
