"""What a step works with: settings, database, store, and the base model, loaded once per process when first needed.

Must not know Celery.
"""

from __future__ import annotations

from functools import cached_property

from adapters_store.store import AdapterStore
from app.database import Database
from app.settings import Settings
from engine.base import Base, load_base


class Context:
    """One per process: nothing in it may be shared with another."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.resolved_database_url)

    @cached_property
    def store(self) -> AdapterStore:
        """The adapter store. Raises: StoreError."""
        return AdapterStore.open(self.settings.resolved_store_url)

    @cached_property
    def base(self) -> Base:
        """The base model. Raises: BaseModelError."""
        chosen = self.settings
        return load_base(chosen.base_model, device=chosen.device, dtype=chosen.dtype, threads=chosen.torch_threads)
