"""Live progress of jobs, with and without a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from app.cli.client import ServiceClient
from app.cli.errors import CliError
from app.cli.progress import Bars, Lines, clock, follow, in_words, raise_failed, succeeded


def running(done: int, left: float | None = 65.0, status: str = "evaluating") -> dict[str, Any]:
    best = {"trial": 3, "rouge_l": 17.26, "loss": 2.0} if done else None
    return {"status": status, "trials_done": done, "trials_planned": 14, "best": best, "seconds_left": left}


class Written(Console):
    """A console whose text can be read."""

    def __init__(self, *, width: int = 120, **options: Any) -> None:
        super().__init__(file=io.StringIO(), width=width, **options)

    @property
    def text(self) -> str:
        value: str = self.file.getvalue()  # type: ignore[attr-defined]
        return value


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (65, "1:05"), (3723, "1:02:03")])
def test_a_duration_reads_like_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_job_in_words_tells_trials_best_so_far_and_time_left() -> None:
    assert in_words(running(5)) == "evaluating, 5/14 trials, best ROUGE-L 17.3, about 1:05 left"
    assert in_words(running(14, status="succeeded")) == "succeeded, 14/14 trials, best ROUGE-L 17.3"
    queued = {**running(0, None, "queued"), "trials_planned": 0, "waits_for": None}
    assert in_words(queued) == "queued"
    assert in_words({**queued, "waits_for": "job_older"}) == "queued, waits for job_older"


def test_without_a_terminal_each_change_is_a_line_and_the_rest_waits() -> None:
    console, now = Written(), 0.0
    lines = Lines(console, lambda: now)
    with lines:
        lines.show("anna", running(5, 60))
        lines.show("anna", running(5, 59))
        lines.show("ben", running(0, None))
        lines.show("anna", running(6, 50))
        now = 16.0
        lines.show("anna", running(6, 40))
        lines.show("ben", running(0, None))
    assert [line.split(",")[0] + line.split("trials")[1] for line in console.text.splitlines()] == [
        "anna: evaluating, best ROUGE-L 17.3, about 1:00 left",
        "ben: evaluating",
        "anna: evaluating, best ROUGE-L 17.3, about 0:50 left",
        "anna: evaluating, best ROUGE-L 17.3, about 0:40 left",
    ]


def test_on_a_terminal_each_job_has_a_bar_with_its_figures() -> None:
    console = Written(force_terminal=True)
    with Bars(console) as bars:
        bars.show("anna", {**running(0, None, "queued"), "trials_planned": 0})
        bars.show("cleo", {**running(0, None, "queued"), "trials_planned": 0, "waits_for": "job_older"})
        bars.show("anna", running(5))
        bars.show("ben", running(2))
    for shown in (
        "anna",
        "ben",
        "5/14",
        "2/14",
        "best ROUGE-L 17.3",
        "1:05 left",
        "waits for job_older",
    ):
        assert shown in console.text


def test_a_bar_is_one_line_of_eighty_columns() -> None:
    console = Written(width=80)
    with Bars(console) as bars:
        bars.show("diabetes-patient", running(14, status="publishing"))
    assert [line.split()[-1] for line in console.text.strip().splitlines()] == ["publishing"]


class Ending(ServiceClient):
    """A service whose jobs have ended as given: a real one's do not fail on request."""

    def __init__(self, **status_of: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self._status_of = status_of

    def job(self, job_id: str) -> dict[str, Any]:
        error = {"code": "gave_up", "detail": "Five attempts failed."}
        status = self._status_of[job_id]
        return {"id": job_id, **running(3, status=status), "error": error if status == "failed" else None}


def test_a_failed_job_is_an_error_with_the_services_reason() -> None:
    with Ending(a="succeeded", b="failed") as client:
        ended = follow(client, {"anna": "a", "ben": "b"}, Written())
    assert [succeeded(job) for job in ended.values()] == [True, False]
    with pytest.raises(CliError) as caught:
        raise_failed(ended)
    assert str(caught.value) == "The job of ben (b) ended failed: Five attempts failed."


def test_a_cancelled_job_is_an_error_too(client: ServiceClient) -> None:
    samples = [{"query": f"What is {i}?", "response": f"It is {i}."} for i in range(24)]
    job_id = client.add_history("cancelled", {"samples": samples, "personalize": True})["job"]["id"]
    client.cancel(job_id)
    with pytest.raises(CliError, match="ended cancelled: no reason was given"):
        raise_failed(follow(client, {"cancelled": job_id}, Written()))


def test_a_service_that_falls_apart_ends_the_waiting() -> None:
    def broken() -> None:
        raise CliError("The worker ended.")

    with Ending(a="evaluating") as client, pytest.raises(CliError, match="The worker ended"):
        follow(client, {"anna": "a"}, Written(), broken)
