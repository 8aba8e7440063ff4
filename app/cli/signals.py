"""Turns SIGTERM and SIGHUP into an exception, so that `with` blocks stop what they started. Knows no command."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from app.cli.errors import Terminated


def end_in_order() -> None:
    """From here on SIGTERM and SIGHUP end this process as Ctrl-C does. Call it in the main thread."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` asked for it to be ignored
            signal.signal(number, _terminate)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(signal.Signals(number).name)
