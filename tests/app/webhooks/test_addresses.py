"""Where webhooks may go: to public addresses, and to the very one that was looked at, whatever a name says later."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
import trustme

from app.access.audit import OPERATOR, Deed
from app.database import Database
from app.errors import InvalidWebhookUrlError, NoPublicAddressError
from app.repositories import audit
from app.webhooks import managing
from app.webhooks.addresses import addresses_of, checked_url, is_public
from app.webhooks.events import JOB_EVENTS
from tests.app.webhooks.helpers import TENANT, add_webhook, deliveries_of, end_job, only_delivery, send, sender
from tests.support.receiver import Receiver, receiver

NAME = "hooks.example"
"""A name that no DNS knows (RFC 2606)."""
NOT_PUBLIC = {
    "this machine and this network": "127.0.0.1 127.8.8.8 0.0.0.0 0.1.2.3 :: ::1 fe80::1 fe80::1%1",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fd12:3456::1 fec0::1",
    "metadata services": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254",
    "nobody's, or many's": (
        "192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255"
    ),
    "the same of version 6": "100::1 2001:db8::1 2001:10::1 3fff::1 5f00::1 ff02::1 ff0e::1",
    "version 4 in another coat": (
        "::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 192.88.99.1 64:ff9b::7f00:1 "
        "64:ff9b:1::a00:1 2001::1 2002:7f00:1:: 2002:a00:1::"
    ),
}
PUBLIC = "1.1.1.1 8.8.8.8 93.184.215.14 172.32.0.1 ::ffff:8.8.8.8 2606:4700:4700::1111 2a00:1450:4001:80b::200e"


class Dns:
    """Stands where names are looked up, and says one thing after another; the last of them from then on."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.fixture
def database(on_sqlite: Database) -> Database:
    """One kind will do: nothing here is about databases."""
    return on_sqlite


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dns]:
    """Makes names say what a test wants."""

    def install(*answers: list[str]) -> Dns:
        made = Dns(*answers)
        monkeypatch.setattr("app.webhooks.addresses.getaddrinfo", made)
        return made

    return install


@pytest.mark.parametrize("address", " ".join(NOT_PUBLIC.values()).split())
def test_no_other_than_a_public_address_passes(address: str, dns: Callable[..., Dns]) -> None:
    assert not is_public(ip_address(address))
    # Nor does a name with such an address beside a public one.
    dns(["1.1.1.1", address])
    with pytest.raises(NoPublicAddressError, match=NAME):
        addresses_of(checked_url(f"https://{NAME}/", False), False)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_pass(address: str, dns: Callable[..., Dns]) -> None:
    dns([address])
    assert addresses_of(checked_url(f"https://{NAME}/", False), False) == [address]


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[::ffff:7f00:1]", "0"],
)
def test_however_the_loopback_is_written_the_systems_own_look_up_unmasks_it(host: str) -> None:
    with pytest.raises(NoPublicAddressError):
        addresses_of(checked_url(f"https://{host}/", False), False)
    allowed = addresses_of(checked_url(f"https://{host}/", True), True)
    assert set(allowed) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"}


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com/hook",
        "https://",
        "https:///hook",
        "https://user:password@example.com/",
        "https://example.com/#part",
        "https://example.com:port/",
        "https://exam\nple.com/",
    ],
)
def test_a_url_that_is_none_for_webhooks_is_refused_before_anything_is_looked_up(
    url: str, dns: Callable[..., Dns]
) -> None:
    asked = dns(["1.1.1.1"]).asked
    with pytest.raises(InvalidWebhookUrlError, match=r"Give one like|MILP_WEBHOOKS_PRIVATE|no user"):
        checked_url(url, False)
    assert asked == []


def test_what_is_refused_is_in_the_audit_log_and_tells_nothing_of_the_network(
    database: Database, dns: Callable[..., Dns]
) -> None:
    said = set()
    for answer in (["10.0.0.1"], []):
        dns(answer)
        with pytest.raises(NoPublicAddressError) as caught:
            managing.create(database, Deed(TENANT, OPERATOR, "tests"), f"https://{NAME}/", JOB_EVENTS, private=False)
        said.add(caught.value.detail)
    assert len(said) == 1
    assert "10.0.0.1" not in said.pop()
    with database.read() as session:
        assert [entry.outcome for entry in audit.page_entries(session, TENANT, None, 9).items] == [
            "no_public_address"
        ] * 2


def test_a_name_that_became_private_after_it_was_registered_is_not_sent_to(
    database: Database, receiving: Receiver, dns: Callable[..., Dns]
) -> None:
    dns(["1.1.1.1"], ["127.0.0.1"])
    port = receiving.url.split(":")[2].split("/")[0]
    managing.create(database, Deed(TENANT, OPERATOR, "tests"), f"https://{NAME}:{port}/hook", JOB_EVENTS, private=False)
    end_job(database)
    send(sender(database, private=False))
    delivery = only_delivery(database)
    assert (delivery.state, delivery.last_status, delivery.last_error) == ("waiting", None, "no_public_address")
    assert receiving.requests == []


def test_one_that_was_registered_while_private_addresses_were_allowed_is_not_sent_to_when_they_are_not(
    database: Database, receiving: Receiver
) -> None:
    add_webhook(database, receiving)
    end_job(database)
    send(sender(database, private=False))
    assert only_delivery(database).last_error == "invalid_webhook_url"
    assert receiving.requests == []


def test_what_is_sent_goes_to_the_address_that_was_looked_at_and_the_name_is_asked_for_once(
    database: Database, receiving: Receiver, dns: Callable[..., Dns]
) -> None:
    """The second answer leads nowhere: whoever asked again would be led astray."""
    port = receiving.url.split(":")[2].split("/")[0]
    dns(["127.0.0.1"])
    add_webhook(database, f"http://{NAME}:{port}/hook")
    names = dns(["127.0.0.1"], ["192.0.2.1"])
    end_job(database)
    send(sender(database))
    (request,) = receiving.requests
    assert request.headers["host"] == f"{NAME}:{port}"
    assert names.asked == [NAME]


def test_where_the_first_address_takes_no_connection_the_next_is_tried(
    database: Database, receiving: Receiver, dns: Callable[..., Dns]
) -> None:
    port = receiving.url.split(":")[2].split("/")[0]
    dns(["127.0.0.2", "127.0.0.1"])
    add_webhook(database, f"http://{NAME}:{port}/hook")
    end_job(database)
    send(sender(database))
    assert only_delivery(database).state == "delivered"


@pytest.mark.parametrize(("certified", "outcome"), [(NAME, "delivered"), ("other.example", "waiting")])
def test_over_tls_the_receiver_is_asked_by_its_name_and_has_to_prove_it(
    database: Database,
    dns: Callable[..., Dns],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    certified: str,
    outcome: str,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    certificate = authority.issue_cert(certified)
    with receiver(lambda context: certificate.configure_cert(context)) as secure:
        dns(["127.0.0.1"])
        add_webhook(database, secure.url.replace("127.0.0.1", NAME))
        end_job(database)
        send(sender(database))
        (delivery,) = deliveries_of(database)
        assert secure.names == [NAME]
        assert (delivery.state, len(secure.requests)) == (outcome, int(outcome == "delivered"))
        assert delivery.last_error == (None if outcome == "delivered" else "connection_failed")


def test_a_certificate_of_an_authority_that_nobody_knows_is_refused(
    database: Database, dns: Callable[..., Dns]
) -> None:
    certificate = trustme.CA().issue_cert(NAME)

    def own(context: ssl.SSLContext) -> None:
        certificate.configure_cert(context)

    with receiver(own) as secure:
        dns(["127.0.0.1"])
        add_webhook(database, secure.url.replace("127.0.0.1", NAME))
        end_job(database)
        send(sender(database))
        assert only_delivery(database).last_error == "connection_failed"
        assert secure.requests == []
