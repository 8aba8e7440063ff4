"""What a step works with: settings, database, store, and the base model, loaded once per process when first needed.

Must not know Celery.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from threading import Lock

from adapters_store.store import AdapterStore
from app.database import Database
from app.settings import Settings
from engine.base import Base, load_base
from workers.proposer import Question, in_this_process
from workers.search.loop import Batch


class Context:
    """One per process: nothing in it may be shared with another.

    Args:
        propose: answers what to try next; a worker has another process do it.
        on_stuck: called when a step hangs; a worker ends its process, for a thread cannot be ended.
    """

    def __init__(
        self,
        settings: Settings,
        propose: Callable[[Question], Batch] = in_this_process,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.database = Database(settings.resolved_database_url)
        self.propose = propose
        self.on_stuck = on_stuck
        self._loading = Lock()
        self._base: Base | None = None

    @cached_property
    def store(self) -> AdapterStore:
        """The adapter store. Raises: StoreError."""
        return AdapterStore.open(self.settings.resolved_store_url)

    @property
    def base(self) -> Base:
        """The base model. Raises: BaseModelError."""
        chosen = self.settings
        # A thread that plans and one that trains may both be the first to ask.
        with self._loading:
            if self._base is None:
                self._base = load_base(
                    chosen.base_model, device=chosen.device, dtype=chosen.dtype, threads=chosen.torch_threads
                )
            return self._base

    @base.setter
    def base(self, loaded: Base) -> None:
        self._base = loaded
