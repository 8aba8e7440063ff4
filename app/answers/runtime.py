"""The base model and its answering engine in this process: loaded in the background while the API already serves.

torch is imported by the loading thread only, so that the API's schema and its first health checks need not wait.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, NoReturn

import structlog

from app.errors import BaseUnavailableError
from app.settings import Settings
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.answering import AnsweringEngine
    from engine.base import Base

SWITCH_SECONDS = 0.0005
"""How long a decoding thread may keep Python to itself while another waits. Of Python's own 5 ms a request, which takes
its turn some tens of times, would wait for most of a second."""
LOADING_RETRY_SECONDS = 2
"""When to ask again while the base is loading: a small one takes about as long, a large one many times that."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    base: Base
    engine: AnsweringEngine


class AnsweringRuntime:
    """Loads the base once and hands out the engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: Loaded | None = None
        self._failure: str | None = None
        self._closing = False
        self._thread = Thread(target=self._load, name="base-loading", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def get(self) -> Loaded:
        """The base and its engine.

        Raises:
            BaseUnavailableError: still loading (with Retry-After), or it could not be loaded.
        """
        return self._loaded or self._refuse()

    @property
    def loaded(self) -> Loaded | None:
        return self._loaded

    def forget(self, prefix: str) -> None:
        """Drop stacks from the bank by the beginning of their path."""
        if self._loaded is not None:
            self._loaded.engine.forget(prefix)

    def close(self) -> None:
        """End the engine; answers in the making fail."""
        self._closing = True
        self._thread.join()
        if self._loaded is not None:
            self._loaded.engine.close()

    def _refuse(self) -> NoReturn:
        if self._failure is not None:
            raise BaseUnavailableError(self._failure)
        raise BaseUnavailableError(
            "The base model is being loaded. Try again in a moment.",
            headers={"Retry-After": str(LOADING_RETRY_SECONDS)},
        )

    def _load(self) -> None:
        try:
            self._loaded = _load(self._settings, lambda: self._closing)
        except EngineError as error:
            self._failure = f"The base model cannot be used: {error} Set MILP_BASE_MODEL and start the service again."
            log.error("base_model_failed", detail=str(error))
        except Exception:
            self._failure = "The base model failed to load; the service's log says why."
            log.exception("base_model_failed")


def _load(settings: Settings, closing: Callable[[], bool]) -> Loaded | None:
    from engine.answering import AnsweringEngine
    from engine.base import load_base

    base = load_base(settings.base_model, device=settings.device, dtype=settings.dtype, threads=settings.torch_threads)
    if closing():
        return None
    engine = AnsweringEngine(
        base,
        max_batch_rows=settings.max_batch_rows,
        max_queue=settings.max_queue,
        bank_stacks=settings.bank_stacks,
    )
    engine.start()
    sys.setswitchinterval(SWITCH_SECONDS)
    # What was loaded stays: a look through its 400,000 objects for garbage stops every request for 0.3 s.
    gc.collect()
    gc.freeze()
    log.info("base_model_ready", base=base.name, digest=base.digest, device=str(base.device), dtype=str(base.dtype))
    return Loaded(base, engine)
