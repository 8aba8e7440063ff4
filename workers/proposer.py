"""The surrogate in a process of its own, so that proposing takes no time from the threads that train.

The two exchange lines of JSON over pipes; the process ends when its parent does. Must not know jobs, steps or the
base: a question has all that is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from pydantic import TypeAdapter

from engine.configuration import Configuration
from workers.search.errors import SurrogateUnavailableError
from workers.search.loop import Batch, next_batch
from workers.search.observations import Observation
from workers.search.presets import Preset
from workers.search.space import SearchSpace
from workers.with_parent import end_with_parent


class ProposerError(Exception):
    """The proposing process died, or could not answer; its log lines say why. Asking again starts a new one."""


@dataclass(frozen=True)
class Question:
    """The arguments of `next_batch`."""

    space: SearchSpace
    preset: Preset
    observations_in_order: list[Observation]
    failed: list[Configuration]
    pending: list[Configuration]
    q: int
    seed: int
    surrogate: str
    elapsed: float
    max_seconds: float | None
    stopped: list[Observation] = field(default_factory=list)


@dataclass(frozen=True)
class Reply:
    """A batch, or why there is none."""

    batch: Batch | None = None
    unavailable: str | None = None
    error: str | None = None


_QUESTION: TypeAdapter[Question] = TypeAdapter(Question)
_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)


class Proposer:
    """Answers questions in another process, which is started with the first one. Threads may share it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def ask(self, question: Question) -> Batch:
        """What `next_batch` returns for these arguments.

        Raises:
            SurrogateUnavailableError: the surrogate's packages are not installed.
            ProposerError: the process failed.
        """
        with self._lock:
            line = self._exchange(_QUESTION.dump_json(question))
            if not line:
                self._end()
                raise ProposerError("the proposing process died")
        reply = _REPLY.validate_json(line)
        if reply.unavailable is not None:
            raise SurrogateUnavailableError(reply.unavailable)
        if reply.batch is None:
            raise ProposerError(f"the proposing process failed: {reply.error}")
        return reply.batch

    def interrupt(self) -> None:
        """Have a question that waits for its answer fail at once."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, once it has answered."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        self._process = None

    def _exchange(self, question: bytes) -> bytes:
        process = self._process
        if process is None:
            # One thread: it works beside others.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "workers.proposer"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            self._process = process
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101 - for the type checker
        try:
            process.stdin.write(question + b"\n")
            process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:
            return b""


def in_this_process(question: Question) -> Batch:
    """The same without another process."""
    arguments: dict[str, Any] = {name: getattr(question, name) for name in Question.__dataclass_fields__}
    return next_batch(**arguments)


def _reply(line: bytes) -> Reply:
    try:
        return Reply(batch=in_this_process(_QUESTION.validate_json(line)))
    except SurrogateUnavailableError as error:
        return Reply(unavailable=str(error))
    except Exception as error:  # whatever it is, the parent has to hear of it
        return Reply(error=f"{type(error).__name__}: {error}")


def main() -> None:
    """Reply to each line of standard input until it ends."""
    # Ctrl-C at a terminal reaches all processes: the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Its input ends with its parent, but one that thinks does not read.
    end_with_parent()
    # What libraries print must not come between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        replies.write(_REPLY.dump_json(_reply(line)) + b"\n")
        replies.flush()


if __name__ == "__main__":
    main()
