"""Which addresses a webhook may be sent to: public ones, so that nobody reaches through it what only this service can.

A name is resolved each time that something is sent, and what is sent goes to the very address that was looked at: a
name that points elsewhere a moment later changes nothing. Knows no database.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM, getaddrinfo

import httpx

from app.errors import InvalidWebhookUrlError, NoPublicAddressError

_SETTING = "MILP_WEBHOOKS_PRIVATE"
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments: 192.0.0.192 is one cloud's metadata service
    IPv4Network("192.88.99.0/24"),  # relays from IPv6 to whatever IPv4 address the rest of it holds
    IPv4Network("168.63.129.16/32"),  # another cloud's, on a public address
    IPv6Network("2001::/23"),  # protocol assignments, tunnels among them
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address, private ones too, in another coat
    IPv6Network("3fff::/20"),  # documentation
)
"""What Python calls global, and is not anybody's own address on the internet."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is an ordinary address on the internet. Anything doubtful is not."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _GLOBAL_UNICAST:
            return False
    ordinary = address.is_global and not address.is_multicast and not address.is_reserved
    return ordinary and not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def checked_url(url: str, private: bool) -> httpx.URL:
    """The URL, if it is one that webhooks can have. Looks up nothing.

    Args:
        private: whether private addresses are allowed, and with them plain http.

    Raises:
        InvalidWebhookUrlError: it is not.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidWebhookUrlError(f"That is no URL ({error}). Give one like https://example.com/hook.") from error
    schemes = ("https", "http") if private else ("https",)
    if parsed.scheme not in schemes or not parsed.host:
        raise InvalidWebhookUrlError(
            f"A webhook's URL is {' or '.join(schemes)}://host/path. Plain http needs {_SETTING}=true."
        )
    if parsed.userinfo or parsed.fragment:
        raise InvalidWebhookUrlError("A webhook's URL has no user, password or fragment; the signature says who sends.")
    return parsed


def addresses_of(url: httpx.URL, private: bool) -> list[str]:
    """The addresses of the URL's host, each of them looked at. Waits for the DNS.

    Raises:
        NoPublicAddressError: it has none, or one that is not public and `private` does not allow.
    """
    host = url.raw_host.decode("ascii")
    try:
        found = getaddrinfo(host, url.port or 443, type=SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError):
        found = []
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if addresses and (private or all(is_public(ip_address(address)) for address in addresses)):
        return addresses
    # Which of the two it is would tell whoever asks about names that only this network knows.
    which = "no address" if private else "no public address, or a private one beside it"
    raise NoPublicAddressError(
        f"The host '{host}' has {which}. Webhooks go to public addresses only, unless {_SETTING}=true."
    )
