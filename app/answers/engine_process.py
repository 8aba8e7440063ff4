"""The answering engine in a process of its own: `python -m app.answers.engine_process <descriptor>`.

Decoding runs hundreds of short operations a token, and takes turns for Python with every other thread of its process:
with requests beside it, each would wait for the other at each of them. It also means that an engine that is killed
takes no request along but those it was answering. It ends when its socket does, so no engine outlives its API.

Must not know HTTP, the database or users.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import structlog

from adapters_store.errors import StoreError
from app.answers.wire import (
    Ask,
    Cancel,
    Ended,
    Figures,
    Forget,
    Line,
    Look,
    NotReady,
    Piece,
    Ready,
    Reply,
    asks_at_once,
)
from app.logging import configure_logging
from app.process_memory import keep_little
from app.settings import Settings
from engine.errors import EngineError
from engine.garbage import search_rarely

if TYPE_CHECKING:
    from adapters_store.store import AdapterStore
    from engine.answer import Answer, Listener
    from engine.answer import Piece as EnginePiece
    from engine.answering import AnsweringEngine
    from engine.base import Base
    from engine.stack import Stack

SWITCH_SECONDS = 0.0005
"""How long a decoding thread may keep Python to itself while another waits, in place of Python's own 5 ms."""

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve the process that holds the other end of the socket whose descriptor is the argument."""
    keep_little()
    # Whoever stops the whole group means the API, which lets answers come to their end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    settings: Settings = line.receive()
    configure_logging(settings.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    EngineServer(line, settings).run()
    # At once: what is still being loaded or decoded is for nobody.
    os._exit(0)


class EngineServer:
    """Does what comes over the line, until its other end is gone."""

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._settings = settings
        self._outbox: SimpleQueue[object] = SimpleQueue()
        self._answers: dict[int, Answer] = {}
        self._loaded: tuple[Base, AnsweringEngine, AdapterStore] | None = None
        # Stacks come from a store that may be slow: whoever asks for one that is here does not wait behind them.
        most = asks_at_once(settings.max_batch_rows, settings.max_queue)
        self._asking = ThreadPoolExecutor(most, "asking", initializer=_give_way)

    def run(self) -> None:
        """Load the base and serve; returns when nobody is there any more."""
        sending = Thread(target=self._send, name="sending", daemon=True)
        loading = Thread(target=self._load, name="loading", daemon=True)
        sending.start()
        loading.start()
        with suppress(EOFError, OSError):
            while True:
                self._do(self._line.receive())
        self._line.close()
        self._outbox.put(None)
        if self._loaded is not None:
            self._loaded[1].close()

    def _do(self, asked: object) -> None:
        """Nothing is asked before the base is loaded."""
        match asked:
            case Ask():
                self._asking.submit(self._answer, asked)
            case Cancel(number):
                if (answer := self._answers.get(number)) is not None:
                    answer.cancel()
            case Forget(number, prefix):
                self._outbox.put(Reply(number, self._engine.forget(prefix)))
            case Look(number):
                engine = self._engine
                figures = Figures(engine.waiting, engine.running, len(engine.loaded_keys()), engine.evictions)
                self._outbox.put(Reply(number, figures))

    @property
    def _engine(self) -> AnsweringEngine:
        assert self._loaded is not None  # noqa: S101 - see `_do`
        return self._loaded[1]

    def _answer(self, asked: Ask) -> None:
        try:
            answer = self._submitted(asked)
        except Exception as error:
            if not isinstance(error, EngineError | StoreError):
                log.exception("answer_not_begun")
            self._outbox.put(Reply(asked.number, error=_sendable(error)))
            return
        self._answers[asked.number] = answer
        if answer.finish_reason is not None:  # already: then the listener found nothing to take out
            self._answers.pop(asked.number, None)
        self._outbox.put(Reply(asked.number, answer.prompt_tokens))

    def _submitted(self, asked: Ask) -> Answer:
        assert self._loaded is not None  # noqa: S101 - see `_do`
        base, engine, store = self._loaded
        path = asked.path

        def load_stack() -> Stack:
            assert path is not None  # noqa: S101 - only called where there is one
            return store.load(path, base)

        return engine.submit(
            asked.messages,
            stack_key=path,
            load_stack=load_stack if path is not None else None,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed,
            stop=asked.stop,
            owner=asked.owner,
            listener=self._listener(asked.number, asked.streamed),
        )

    def _listener(self, number: int, streamed: bool) -> Listener:
        """Sends an answer's text on; runs in the threads that decode, so it only puts it down."""
        kept: list[str] = []

        def hear(answer: Answer, piece: EnginePiece) -> None:
            if isinstance(piece, str):
                if streamed:
                    self._outbox.put(Piece(number, piece, answer.completion_tokens))
                else:
                    kept.append(piece)
                return
            self._answers.pop(number, None)
            error = None if piece is None else _sendable(piece)
            text, tokens = "".join(kept), answer.completion_tokens
            self._outbox.put(Ended(number, text, tokens, answer.finish_reason, answer.timeline, error))

        return hear

    def _send(self) -> None:
        """Whatever has gathered since the last sending goes together: the other end wakes once for a whole step."""
        while True:
            batch = [self._outbox.get()]
            while not self._outbox.empty():
                batch.append(self._outbox.get())
            if None in batch:
                return
            try:
                self._line.send(batch)
            except OSError:
                return

    def _load(self) -> None:
        try:
            base, engine, store = _load(self._settings)
        except EngineError as error:
            self._outbox.put(NotReady(str(error)))
            return
        except Exception:
            log.exception("base_model_failed")
            self._outbox.put(NotReady(None))
            return
        self._loaded = base, engine, store
        search_rarely()
        self._outbox.put(Ready(base.name, base.digest, str(base.device), str(base.dtype)))


def _load(settings: Settings) -> tuple[Base, AnsweringEngine, AdapterStore]:
    from adapters_store.store import AdapterStore
    from engine.answering import AnsweringEngine
    from engine.base import load_base

    base = load_base(settings.base_model, device=settings.device, dtype=settings.dtype, threads=settings.torch_threads)
    engine = AnsweringEngine(
        base,
        max_batch_rows=settings.max_batch_rows,
        max_queue=settings.max_queue,
        bank_stacks=settings.bank_stacks,
    )
    engine.start()
    return base, engine, AdapterStore.open(settings.resolved_store_url)


def _give_way() -> None:
    from engine.lanes import give_way

    give_way()


def _sendable(error: BaseException) -> BaseException:
    """Errors that the other end knows as they are; of others what they say, for their classes may not be there."""
    if isinstance(error, EngineError | StoreError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
