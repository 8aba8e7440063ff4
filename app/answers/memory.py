"""The memory prompt's retrievers, one a user, kept until the user's history changes.

A retriever sees the first 80 % in time order of the history as it is at present: the train and validation part of a
job that would start now. So while a history stands as it was when a report was made, nothing that report tests on is
shown. Once it has grown, the part grows with it, and may reach samples that an older report tested on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from sqlmodel import Session

from adapters_store import layout
from app.repositories import history
from engine.history import KNOWN_FRACTION, Sample
from engine.memory import MemoryRetriever

USERS_KEPT = 64
"""Retrievers in memory; one of 20,000 samples takes some tens of megabytes, and is built anew in a second."""


class MemoryCache:
    """Retrievers of the users who asked last. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[history.Extent, MemoryRetriever]] = OrderedDict()
        self._lock = Lock()

    def retriever(self, session: Session, tenant: str, user_id: str) -> MemoryRetriever:
        """The user's retriever over what they have now.

        Ids are never given twice: how many samples there are and which is the newest tell one state of a history from
        another, in every API process.
        """
        key = (tenant, user_id)
        state = history.extent(session, *key)
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0] == state:
                self._kept.move_to_end(key)
                return found[1]
        samples = [history.to_sample(row) for row in history.samples_in_order(session, *key)]
        built = MemoryRetriever(known_part(samples))
        with self._lock:
            self._kept[key] = (state, built)
            self._kept.move_to_end(key)
            while len(self._kept) > USERS_KEPT:
                self._kept.popitem(last=False)
        return built

    def forget(self, folder: str) -> None:
        """Drop the retriever of the user whose folder of the store this is."""
        with self._lock:
            for key in [key for key in self._kept if layout.user_folder(*key) == folder]:
                del self._kept[key]

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._kept.clear()


def known_part(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples that may be shown: all before the test part; of a history too short for one, at least one."""
    return samples[: max(1, int(len(samples) * KNOWN_FRACTION))]
