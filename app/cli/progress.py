"""Live progress of jobs: bars on a terminal, plain lines elsewhere. Polls the REST API as any client may.

Must not know what is done with the finished jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from app.cli.client import ServiceClient
from app.cli.errors import CliError
from app.job_states import JobStatus

Json = dict[str, Any]
_POLL_SECONDS = 1.0
_LINE_SECONDS = 15.0
"""Where there is no bar to move, something is said at least so often while anything changes."""


class _Display(Protocol):
    def __enter__(self) -> Any: ...
    def __exit__(self, *failure: Any) -> Any: ...
    def show(self, label: str, job: Json) -> None: ...


def follow(
    client: ServiceClient, jobs: Mapping[str, str], console: Console, check: Callable[[], None] = lambda: None
) -> dict[str, Json]:
    """Show these jobs until all have ended.

    Args:
        jobs: label -> job id.
        check: called between two looks; raises when waiting has become pointless.

    Returns:
        label -> the ended job, however it ended.
    """
    ended: dict[str, Json] = {}
    display: _Display = Bars(console) if console.is_terminal else Lines(console)
    with display:
        while True:
            check()
            for label, job_id in jobs.items():
                if label not in ended:
                    job = client.job(job_id)
                    display.show(label, job)
                    if JobStatus(job["status"]).is_final:
                        ended[label] = job
            if len(ended) == len(jobs):
                break
            time.sleep(_POLL_SECONDS)
    return ended


def succeeded(job: Json) -> bool:
    return bool(job["status"] == JobStatus.succeeded)


def raise_failed(ended: Mapping[str, Json]) -> None:
    """To be called once what succeeded has been shown.

    Raises:
        CliError: some of these jobs failed or were cancelled; it says which and why.
    """
    failures = [
        f"The job of {label} ({job['id']}) ended {job['status']}: "
        + (job.get("error") or {}).get("detail", "no reason was given")
        for label, job in ended.items()
        if not succeeded(job)
    ]
    if failures:
        raise CliError(" ".join(failures))


def in_words(job: Json) -> str:
    """A job's progress as one line: status and what it waits for, trials, best so far, time left."""
    parts = [_status(job)]
    if job["trials_planned"]:
        parts.append(f"{job['trials_done']}/{job['trials_planned']} trials")
    if best := _best(job):
        parts.append(best)
    if left := _left(job):
        parts.append(f"about {left}")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as 1:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _status(job: Json) -> str:
    """Its status, and what keeps it from going on."""
    return f"{job['status']}, waits for {job['waits_for']}" if job.get("waits_for") else str(job["status"])


def _best(job: Json) -> str:
    best = job.get("best") or {}
    return "" if best.get("rouge_l") is None else f"best ROUGE-L {best['rouge_l']:.1f}"


def _left(job: Json) -> str:
    left = job.get("seconds_left")
    return "" if left is None or JobStatus(job["status"]).is_final else f"{clock(left)} left"


class _Field(ProgressColumn):
    """A column that shows what the display last put into one of the task's fields."""

    def __init__(self, name: str, style: str = "") -> None:
        super().__init__()
        self._name, self._style = name, style

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get(self._name, "")), style=self._style)


class Bars(Progress):
    """One bar a job, in few words: a line shall fit into eighty columns."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            _Field("trials", "green"),
            _Field("best", "cyan"),
            _Field("left", "yellow"),
            _Field("status", "dim"),
            console=console,
        )
        self._bars: dict[str, Any] = {}

    def show(self, label: str, job: Json) -> None:
        if label not in self._bars:
            self._bars[label] = self.add_task(label, total=None)
        done, planned = job["trials_done"], job["trials_planned"]
        final = JobStatus(job["status"]).is_final
        self.update(
            self._bars[label],
            total=(done if final else planned) or None,
            completed=done,
            trials=f"{done}/{planned}" if planned else "",
            best=_best(job),
            left=_left(job),
            status=_status(job),
        )


class Lines:
    """One line for each trial that ended, and now and then one in between.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._shown: dict[str, tuple[object, str, float]] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *failure: Any) -> None:
        pass

    def show(self, label: str, job: Json) -> None:
        state = (job["trials_done"], job["trials_planned"], JobStatus(job["status"]).is_final)
        words, moment = in_words(job), self._clock()
        before, said, when = self._shown.get(label, (None, "", 0.0))
        if state != before or (words != said and moment - when >= _LINE_SECONDS):
            self._shown[label] = (state, words, moment)
            self._console.print(f"{label}: {words}", markup=False, highlight=False, soft_wrap=True)
