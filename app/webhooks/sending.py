"""One attempt at a delivery: an HTTP POST to an address that was looked at, and what was answered.

Of an answer only the status and Retry-After are read, nothing is followed and nothing kept. Knows no database.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import anyio
import httpx
from anyio import CapacityLimiter, to_thread

from app.errors import InvalidWebhookUrlError, NoPublicAddressError
from app.webhooks.addresses import addresses_of, checked_url

ATTEMPT_SECONDS = 15.0
"""From looking up the name to the status line. Long enough for a receiver that works before it answers."""
_CONNECT_SECONDS = 5.0
"""To one of several addresses, before the next is tried."""
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted, and where to."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt.

    Args:
        status: HTTP status, None where no answer came.
        error: then why, in a word: a problem's code, `timed_out`, `connection_failed` (or TLS), `no_answer`.
        retry_after: seconds that the receiver wants to be left alone.
    """

    status: int | None
    error: str | None = None
    retry_after: float = 0.0

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants nothing more, of any event."""
        return self.status == HTTPStatus.GONE


async def post(request: Request, *, private: bool, tls: ssl.SSLContext, threads: CapacityLimiter) -> Answer:
    """Send it once, to the first of the host's addresses that takes a connection.

    Raises nothing that a receiver could bring about.

    Args:
        private: whether private addresses and plain http are allowed.
        threads: those that may wait for the DNS.
    """
    try:
        with anyio.fail_after(ATTEMPT_SECONDS):
            target = checked_url(request.url, private)
            *others, last = await to_thread.run_sync(
                addresses_of, target, private, limiter=threads, abandon_on_cancel=True
            )
            for address in others:
                with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                    return await _post_to(address, target, request, tls)
            return await _post_to(last, target, request, tls)
    except (InvalidWebhookUrlError, NoPublicAddressError) as error:
        return Answer(None, error.code)
    except (TimeoutError, httpx.TimeoutException):
        return Answer(None, "timed_out")
    except (httpx.ConnectError, httpx.InvalidURL):
        return Answer(None, "connection_failed")
    except httpx.TransportError:
        return Answer(None, "no_answer")


async def _post_to(address: str, target: httpx.URL, request: Request, tls: ssl.SSLContext) -> Answer:
    """Post to this address, which stands in the URL, so that no other is looked up or connected to.

    The host's name is what the receiver sees, and what its certificate is checked against. The client is of this one
    request: a connection that was kept would be another host's, whose certificate nobody looked at.
    """
    timeout = httpx.Timeout(ATTEMPT_SECONDS, connect=_CONNECT_SECONDS)
    async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout) as client:
        made = client.build_request(
            "POST",
            target.copy_with(host=address),
            headers={**request.headers, "Host": target.netloc.decode("ascii")},
            content=request.body,
            extensions={"sni_hostname": target.raw_host.decode("ascii")},
        )
        response = await client.send(made, stream=True, follow_redirects=False)
        await response.aclose()
    return Answer(response.status_code, retry_after=_seconds(response.headers.get("Retry-After", "")))


def _seconds(retry_after: str) -> float:
    """Of the header's two forms only that in seconds: a date says more about clocks than about patience."""
    return float(retry_after) if _SECONDS.fullmatch(retry_after) else 0.0
