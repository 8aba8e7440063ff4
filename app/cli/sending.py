"""Histories on their way to the service: in one request, stored all or none, and in parts only where it takes no such.

Knows the REST client and histories; prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from app.cli.client import Json, ServiceClient
from app.cli.errors import CliError, RefusedError
from app.cli.histories import History, encoded_bytes, in_groups, jsonl_lines


@dataclass(frozen=True)
class _Part:
    """What one request carries.

    Args:
        count: its samples, or lines.
        size: its bytes, nearly.
        post: sends it; told whether it is the last.
    """

    count: int
    size: int
    post: Callable[[bool], Json] = field(repr=False)


@dataclass(frozen=True)
class _Whole:
    """A history that can be cut.

    Args:
        parts: what is left of it from a sample or line on (0: all), in parts of at most so many bytes; None: of as
            many as a service takes unless told otherwise.
        place: what to call a sample or line, by its number from 0.
    """

    user_id: str
    parts: Callable[[int, int | None], list[_Part]]
    place: Callable[[int], str]


def send_history(client: ServiceClient, history: History, **job: Any) -> Json:
    """Send one history, in one request if it fits; else in several, of which only the last may start a job.

    Args:
        job: `personalize` and `options` of the request's body.

    Returns:
        The last answer, with the counts of all.

    Raises:
        CliError: refused or broken off; it says what was stored where earlier parts were.
    """

    def part(body: Json) -> _Part:
        return _Part(
            len(body["samples"]),
            encoded_bytes(body),
            lambda last: client.add_history(history.user_id, {**body, **(job if last else {"personalize": False})}),
        )

    def parts(start: int, most_bytes: int | None) -> list[_Part]:
        return [part(body) for body in history.bodies(start, most_bytes)]

    answer = _sent(_Whole(history.user_id, parts, lambda i: f"sample {i + 1}"))
    return _with_job(client, history.user_id, answer, job.get("options") or {})


def send_file(client: ServiceClient, user_id: str, text: str, personalize: str) -> Json:
    """Send one user's JSONL as it is, as `send_history` sends a history. `personalize`: auto, true or false."""
    lines = jsonl_lines(text)

    def part(group: list[str]) -> _Part:
        content = "\n".join(group).encode()
        return _Part(
            len(group),
            len(content),
            lambda last: client.add_file(user_id, content, personalize if last else "false"),
        )

    def parts(start: int, most_bytes: int | None) -> list[_Part]:
        rest = lines[start:]
        groups = [rest] if most_bytes is None else in_groups(rest, lambda line: len(line.encode()), most_bytes)
        return [part(group) for group in groups]

    def place(index: int) -> str:
        return f"line {1 + index + sum(line.count(chr(10)) for line in lines[: index + 1])}"

    answer = _sent(_Whole(user_id, parts, place))
    return _with_job(client, user_id, answer, {})


def _sent(whole: _Whole) -> Json:
    """Send part after part; cut what is left smaller for as long as a part is too large for the service."""
    sent = number = added = duplicates = 0
    answer: Json = {}
    waiting = whole.parts(0, None)
    while waiting:
        part = waiting[0]
        try:
            answer = part.post(len(waiting) == 1)
        except CliError as error:
            if _is_too_large(error) and part.count > 1:
                waiting = whole.parts(sent, part.size // 2)
                continue
            if number == 0 and not _is_too_large(error):
                raise
            said = [str(error)]
            if _is_too_large(error):
                said.append(f"But {whole.place(sent)} alone is larger: raise that limit, or leave it out.")
            if number:
                said.append(
                    f"That was part {number + 1} of {number + len(waiting)} of {whole.user_id}, from "
                    f"{whole.place(sent)} on; {added} samples were stored before it. "
                    "Sending the same again is safe: what is stored already is left out as a duplicate."
                )
            raise CliError(" ".join(said)) from error
        del waiting[0]
        number, sent = number + 1, sent + part.count
        added, duplicates = added + answer["added"], duplicates + answer["duplicates"]
    return {**answer, "added": added, "duplicates": duplicates}


def _is_too_large(error: CliError) -> bool:
    return isinstance(error, RefusedError) and error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def _with_job(client: ServiceClient, user_id: str, answer: Json, options: Json) -> Json:
    """The answer, with a job where only the last of several parts held nothing new."""
    if answer["added"] and (answer["job_skipped"] or {}).get("code") == "nothing_new":
        return {**answer, "job": client.personalize(user_id, options), "job_skipped": None}
    return answer
