"""The service's REST API as the command line uses it: one method a route, problems as one-line errors.

The only place of the CLI that knows HTTP. Imports httpx, so no command imports it before it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.cli.errors import CliError, RefusedError, ServiceAwayError

Json = dict[str, Any]
_PAGE = 100


class ServiceClient:
    """A service at `url`. Every method raises ServiceAwayError or RefusedError, both with a message for people."""

    def __init__(self, url: str, api_key: str | None = None, *, seconds: float = 300.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=httpx.Timeout(seconds, connect=10.0), trust_env=False
            )
        except httpx.InvalidURL as error:
            raise CliError(f"{url} is not a URL ({error}). Give one like http://127.0.0.1:8321.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Whether a milp service answers here and says it is ready."""
        try:
            return self._http.get("/readyz", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def add_history(self, user_id: str, body: Json) -> Json:
        return self._call("POST", _user(user_id, "history"), json=body)

    def add_file(self, user_id: str, jsonl: bytes, personalize: str) -> Json:
        """Upload one user's JSONL, chat lines or lines of pairs, as it is. `personalize`: auto, true or false."""
        upload = {"file": ("history.jsonl", jsonl, "application/jsonl")}
        return self._call("POST", _user(user_id, "history"), files=upload, data={"personalize": personalize})

    def history(self, user_id: str) -> list[Json]:
        """All stored samples of a user, in time order."""
        return list(self._items(_user(user_id, "history")))

    def users(self) -> Iterator[Json]:
        return self._items("/v1/users")

    def user(self, user_id: str) -> Json:
        return self._call("GET", _user(user_id))

    def erase_user(self, user_id: str) -> Json:
        """Delete a user with everything; the erasure."""
        return self._call("DELETE", _user(user_id))

    def erasure(self, erasure_id: str) -> Json:
        return self._call("GET", f"/v1/erasures/{quote(erasure_id, safe='')}")

    def versions(self, user_id: str) -> list[Json]:
        return list(self._items(_user(user_id, "versions")))

    def activate(self, user_id: str, version_id: str) -> Json:
        return self._call("POST", _user(user_id, "versions", version_id, "activate"))

    def deactivate(self, user_id: str) -> Json:
        return self._call("POST", _user(user_id, "versions", "deactivate"))

    def export(self, user_id: str, version_id: str) -> bytes:
        """The version as a zip of a PEFT folder."""
        return self._send("GET", _user(user_id, "versions", version_id, "export")).content

    def personalize(self, user_id: str, options: Json) -> Json:
        """Start a job; the job."""
        return self._call("POST", _user(user_id, "personalizations"), json=options)

    def jobs(self, *, user_id: str | None = None, status: str | None = None) -> Iterator[Json]:
        """Jobs, newest first."""
        return self._items("/v1/jobs", {"user_id": user_id, "status": status})

    def job(self, job_id: str) -> Json:
        return self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}")

    def cancel(self, job_id: str) -> Json:
        return self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel")

    def trials(self, job_id: str) -> list[Json]:
        return list(self._items(f"/v1/jobs/{quote(job_id, safe='')}/trials"))

    def webhooks(self) -> Iterator[Json]:
        return self._items("/v1/webhooks")

    def add_webhook(self, body: Json) -> Json:
        """The webhook with its secret."""
        return self._call("POST", "/v1/webhooks", json=body)

    def delete_webhook(self, webhook_id: str) -> Json:
        return self._call("DELETE", _webhook(webhook_id))

    def test_webhook(self, webhook_id: str) -> Json:
        """The delivery that was made."""
        return self._call("POST", _webhook(webhook_id, "test"))

    def deliveries(self, webhook_id: str, state: str | None) -> Iterator[Json]:
        """A webhook's deliveries, newest first."""
        return self._items(_webhook(webhook_id, "deliveries"), {"state": state})

    def redeliver(self, webhook_id: str, delivery_id: str) -> Json:
        return self._call("POST", _webhook(webhook_id, "deliveries", delivery_id, "redeliver"))

    def respond(self, user_id: str, query: str, *, mode: str = "auto", **options: Any) -> Json:
        """The whole answer to one query."""
        return self._call("POST", _user(user_id, "responses"), json={"query": query, "mode": mode, **options})

    def stream(self, user_id: str, query: str, *, mode: str = "auto", **options: Any) -> Iterator[tuple[str, Json]]:
        """The answer as it comes: ("delta", {"text"}) again and again, then ("done", the whole answer)."""
        body = {"query": query, "mode": mode, "stream": True, **options}
        try:
            with self._http.stream("POST", _user(user_id, "responses"), json=body) as response:
                if response.is_error:
                    response.read()
                    raise _refused(response)
                for event, data in _server_sent_events(response.iter_lines()):
                    if event == "error":
                        raise CliError(str(data.get("detail", data)))
                    yield event, data
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _items(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[Json]:
        cursor: str | None = None
        while True:
            given = {**(query or {}), "limit": _PAGE, "cursor": cursor}
            page = self._call("GET", path, params={name: value for name, value in given.items() if value is not None})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _call(self, method: str, path: str, **request: Any) -> Json:
        response = self._send(method, path, **request)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise CliError(f"{self.url} answers, but not as a milp service does. Check the URL.")
        return body

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        if response.is_error:
            raise _refused(response)
        return response

    def _away(self, error: httpx.HTTPError | httpx.InvalidURL) -> ServiceAwayError:
        if isinstance(error, httpx.ConnectError):
            return ServiceAwayError(
                f"No service answers at {self.url}. Start one with `milp up`, or name another with --url."
            )
        return ServiceAwayError(
            f"The service at {self.url} broke off ({type(error).__name__}). See its logs, try again."
        )


def _user(user_id: str, *rest: str) -> str:
    return "/".join(["/v1/users", quote(user_id, safe=""), *(quote(part, safe="") for part in rest)])


def _webhook(webhook_id: str, *rest: str) -> str:
    return "/".join(["/v1/webhooks", *(quote(part, safe="") for part in (webhook_id, *rest))])


def _refused(response: httpx.Response) -> RefusedError:
    """The problem+json of a response as one line."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    code = str(problem.get("code", f"http_{response.status_code}"))
    said = problem.get("detail") or problem.get("title") or response.reason_phrase
    if response.status_code == 401:
        said = (
            f"{said} Give it with --api-key or MILP_API_KEY; or, where `milp up` runs here with another data folder, "
            "set MILP_DATA_DIR."
        )
    return RefusedError(" ".join(str(said).split()), code=code, status=response.status_code)


def _server_sent_events(lines: Iterator[str]) -> Iterator[tuple[str, Json]]:
    """Events of a text/event-stream whose data is a JSON object each."""
    event, data = "message", list[str]()
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
        elif data:
            yield event, json.loads("\n".join(data))
            event, data = "message", []
