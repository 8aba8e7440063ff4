"""One child process: started in a group of its own, logging to a file, and always stopped.

Must not know which program it runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.embedded import die_with_parent
from app.embedded.errors import PartFailedError

_TAIL_LINES = 15
_TAIL_BYTES = 16_384
_POLL_SECONDS = 0.05


class Child:
    """A running child process. Start it from a thread that lives as long as the child should (see `die_with_parent`).

    Args:
        name: what it is called in messages, and its log's file name.
        command: program and arguments.
        environment: its whole environment.
        log: file that takes its output; the log of the run before is kept beside it as `<name>.log.1`.
        grace_seconds: how long it may take to end when asked to, before it is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        grace_seconds: float,
    ) -> None:
        self.name = name
        self.log = log
        self.grace_seconds = grace_seconds
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(log.name + ".1"))
        wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        with log.open("wb") as output:
            # A group of its own: Ctrl-C in the terminal reaches us alone, and we stop the children in order. But our
            # session: Linux shares the cores out between sessions (autogroup), and only within one does `nice` count.
            self._process = subprocess.Popen(
                [*wrapper, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """Raises PartFailedError, with the log's tail, if the child has ended."""
        code = self._process.poll()
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise PartFailedError(f"The {self.name} {how}. Its log is {self.log}", self.tail())

    def tail(self) -> tuple[str, ...]:
        """The last lines of its log, oldest first."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ()
        return tuple(line for line in text.splitlines() if line.strip())[-_TAIL_LINES:]

    def stop(self, hurry: Callable[[], bool]) -> None:
        """Ask the child to end (SIGTERM); kill it and all it started when its grace is over or `hurry()` is true."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        while self.alive and time.monotonic() < deadline and not hurry():
            time.sleep(_POLL_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill whatever is left of the child's process group, and wait for the child."""
        # Its group is named by its pid, which stays taken while any member lives.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
