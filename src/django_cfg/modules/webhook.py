"""One POST to an address that somebody configured, which must not lead into our own network.

The name is resolved once, every address is looked at, and the connection goes to one that was looked at; redirects
are not followed. The URL is a secret and never part of an error.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django_cfg.errors import WebhookError

TIMEOUT_S = 10.0
MOST_READ = 1024


def post(
    url: str, body: Mapping[str, Any], *, private_hosts: Collection[str] = (), timeout_s: float = TIMEOUT_S
) -> None:
    """Send JSON.

    Parameters:
        private_hosts: names or addresses that may be private, and may be reached by plain `http:`.

    Raises:
        WebhookError: the address is refused, nobody answers there, or the answer is no success.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    may_be_private = host in {name.lower() for name in private_hosts}
    _check_scheme(parts, may_be_private)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _resolved(host, port, is_private_allowed=may_be_private)
    connection = _Pinned(host, port, address, timeout_s, is_secure=parts.scheme == "https")
    try:
        status = _exchange(connection, parts, body)
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(f"no answer from the webhook at {host} ({type(error).__name__})") from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise WebhookError(f"the webhook at {host} answered {status}")


def _check_scheme(parts: SplitResult, is_private_allowed: bool) -> None:
    if parts.scheme == "https" or (parts.scheme == "http" and is_private_allowed):
        return
    raise WebhookError("a webhook must be https://; http:// is only for hosts in notices_private_hosts")


def _resolved(host: str, port: int, *, is_private_allowed: bool) -> tuple[Any, ...]:
    """The address to connect to: the first of the name's, if all of them are fit."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"the webhook's host {host} is unknown ({type(error).__name__})") from None
    private = [info for info in found if not is_public(info[4][0])]
    if private and not is_private_allowed:
        raise WebhookError(
            f"the webhook's host {host} has a private address; name it in notices_private_hosts if meant"
        )
    return found[0]


def is_public(address: Any) -> bool:
    """Whether an address belongs to the open internet."""
    found = ipaddress.ip_address(str(address).partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not (mapped or found).is_multicast


def _exchange(connection: http.client.HTTPConnection, parts: SplitResult, body: Mapping[str, Any]) -> int:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read(MOST_READ)
    return answer.status


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was looked at, with the certificate of the name."""

    def __init__(self, host: str, port: int, info: tuple[Any, ...], timeout_s: float, *, is_secure: bool) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._info, self._is_secure = info, is_secure

    def connect(self) -> None:
        family, kind, protocol, _, address = self._info
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(self.timeout)
            made.connect(address)
            self.sock = self._secured(made)
        except BaseException:
            made.close()
            raise

    def _secured(self, made: socket.socket) -> socket.socket:
        if not self._is_secure:
            return made
        return ssl.create_default_context().wrap_socket(made, server_hostname=self.host)
