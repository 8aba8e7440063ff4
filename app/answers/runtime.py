"""Keeps the answering engine's process: started with the API, started again when it ends, ended with the API.

It loads the base while the API already serves. Must not know HTTP or users.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import NoReturn

import structlog

from app.answers.engine_client import EngineClient
from app.answers.wire import Figures, Line, NotReady, Ready
from app.errors import BaseUnavailableError
from app.settings import Settings
from engine.base_folder import base_folder
from engine.errors import EngineError
from engine.garbage import search_rarely

LOADING_RETRY_SECONDS = 2
"""When to ask again while the base is loading: a small one takes about as long, a large one many times that."""
_END_SECONDS = 5.0
"""How long the engine's process may take to end by itself."""
_PAUSES = (1.0, 60.0)
"""Before an engine that ended is started again: at first, and at most (twice as long each time that it fails soon)."""
_STEADY_SECONDS = 60.0
"""One that ran so long did not fail at its beginning."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """An engine's process, or what stands for one: our end of its line, and how to be sure that it is gone."""

    line: Line
    process_id: int
    end: Callable[[], str]
    """Ends it, if it has not ended; says how it did."""


class AnsweringRuntime:
    """Hands out the engine while there is one. Threads may share it.

    Attributes:
        starts: how often its process was started.
    """

    def __init__(self, settings: Settings) -> None:
        self.starts = 0
        self._settings = settings
        self._engine: EngineClient | None = None
        self._running: Running | None = None
        self._failure: str | None = None
        self._closing = Event()
        self._thread = Thread(target=self._keep, name="engine-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def get(self) -> EngineClient:
        """The engine.

        Raises:
            BaseUnavailableError: still loading (with Retry-After), or it could not be loaded.
        """
        return self._engine or self._refuse()

    def figures(self) -> Figures:
        """How busy the engine is; idle while there is none."""
        if self._engine is not None:
            with suppress(EngineError, TimeoutError):
                return self._engine.figures()
        return Figures()

    def forget(self, prefix: str) -> None:
        """Drop stacks from the bank by the beginning of their path; when this returns, none is there."""
        engine, running = self._engine, self._running
        if engine is None or running is None:
            return
        try:
            engine.forget(prefix)
        except TimeoutError:
            log.error("answering_engine_does_not_forget")
            running.end()
        except EngineError:
            pass  # with its process, its memory is gone

    def close(self) -> None:
        """End the engine; answers in the making fail."""
        self._closing.set()
        if self._running is not None:
            self._running.end()
        self._thread.join()

    def _refuse(self) -> NoReturn:
        if self._failure is not None:
            raise BaseUnavailableError(self._failure)
        raise BaseUnavailableError(
            "The base model is being loaded. Try again in a moment.",
            headers={"Retry-After": str(LOADING_RETRY_SECONDS)},
        )

    def _keep(self) -> None:
        """Start the engine for as long as it is wanted, unless its base cannot be loaded at all."""
        first, most = _PAUSES
        pause = first
        try:
            # Here, so that nobody waits for torch only to be told that there is no such folder.
            base_folder(self._settings.base_model)
            while not self._closing.is_set():
                began = monotonic()
                how = self._run_once()
                if self._closing.is_set():
                    return
                if monotonic() - began > _STEADY_SECONDS:
                    pause = first
                self._failure = f"The answering engine ended ({how}). It is started again in {pause:.0f} s."
                log.error("answering_engine_ended", how=how, again_in_seconds=pause)
                self._closing.wait(pause)
                self._failure = None  # it is being loaded
                pause = min(most, 2 * pause)
        except EngineError as error:
            self._failure = f"The base model cannot be used: {error} Set MILP_BASE_MODEL and start the service again."
            log.error("base_model_failed", detail=str(error))
        except Exception:
            self._failure = "The base model failed to load; the service's log says why."
            log.exception("base_model_failed")

    def _run_once(self) -> str:
        """Run an engine from its start to its end; how it ended.

        Raises: EngineError, its base cannot be loaded.
        """
        self.starts += 1
        try:
            self._running = running = launched(self._settings)
        except OSError as error:  # no memory, or no more processes, now
            return str(error)
        try:
            if self._closing.is_set():
                return "closing"
            with suppress(EOFError, OSError):
                for said in running.line.receive():
                    if isinstance(said, NotReady):
                        raise EngineError(said.detail) if said.detail is not None else RuntimeError("see above")
                    self._serve(running.line, said)
        finally:
            self._engine = None
            how = running.end()
        return how

    def _serve(self, line: Line, ready: Ready) -> None:
        engine = EngineClient(line)
        search_rarely()
        log.info("base_model_ready", base=ready.base, digest=ready.digest, device=ready.device, dtype=ready.dtype)
        self._engine, self._failure = engine, None
        engine.receive_until_end()


def launched(settings: Settings) -> Running:
    """A process of its own that serves an engine as these settings say."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "app.answers.engine_process", str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
    line = Line(ours)

    def end() -> str:
        line.close()
        try:
            code = process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    with suppress(OSError):  # it has ended already, which its line says too
        line.send(settings)
    return Running(line, process.pid, end)
