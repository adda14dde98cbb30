"""`redis+sentinel://user:password@host:26379,host:26379/SERVICE/DB`: a primary that sentinels know."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from redis.sentinel import Sentinel

SCHEMES = ("redis+sentinel", "sentinel")
PORT = 26379


@dataclass(frozen=True)
class Watched:
    """A service that sentinels watch."""

    sentinels: tuple[tuple[str, int], ...]
    service: str

    def primary(self, timeout_s: float) -> tuple[str, int]:
        """Host and port of the server that takes writes now.

        Raises:
            MasterNotFoundError: no sentinel knows one that answers.
        """
        options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        asked = Sentinel(list(self.sentinels), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            host, port = asked.discover_master(self.service)  # type: ignore[no-untyped-call]
        finally:
            for client in asked.sentinels:
                client.close()
        return str(host), int(port)


def watched(url: str) -> tuple[Watched, str] | None:
    """What a sentinel URL names, and the URL of its servers without their address; None for another URL."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        return None
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    nodes = tuple(_node(host) for host in hosts.split(","))
    return Watched(nodes, service), f"redis://{user}{at}primary/{database or 0}?{parts.query}"


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
    return host.strip("[]"), int(port or PORT)
