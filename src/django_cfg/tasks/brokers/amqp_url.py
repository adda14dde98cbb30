"""What an AMQP URL means, without the client library. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit

SCHEMES = {"amqp", "amqps"}
GUEST = "guest"


def is_guest_abroad(url: str) -> bool:
    """Whether it names the default user, whose password everybody knows, at a server that others can reach."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False  # a malformed URL is the business of whoever connects with it
    if parts.scheme not in SCHEMES:
        return False
    return unquote(parts.username or GUEST) == GUEST and not _is_loopback(parts.hostname or "localhost")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
