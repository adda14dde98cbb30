"""`redis+sentinel://user:password@host:26379,host:26379/SERVICE/DB`: a primary that sentinels know. With `rediss+sentinel://`
both are asked over TLS; `?sentinel_username=...&sentinel_password=...` is who we are to the sentinels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.connection import parse_url
from redis.sentinel import Sentinel

#: And the scheme of the servers behind the sentinels.
SCHEMES = {"redis+sentinel": "redis", "sentinel": "redis", "rediss+sentinel": "rediss"}
PORT = 26379
OURS = "sentinel_"


@dataclass(frozen=True)
class Watched:
    """A service that sentinels watch.

    Attributes:
        options: how the sentinels are asked: our name and password there, and TLS.
    """

    sentinels: tuple[tuple[str, int], ...]
    service: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def primary(self, timeout_s: float) -> tuple[str, int]:
        """Host and port of the server that takes writes now.

        Raises:
            MasterNotFoundError: no sentinel knows one that answers.
        """
        options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, **self.options}
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
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        return None
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    nodes = tuple(_node(host) for host in hosts.split(","))
    of_servers = "&".join(option for option in parts.query.split("&") if not option.startswith(OURS))
    servers = f"{scheme}://{user}{at}primary/{database or 0}?{of_servers}"
    return Watched(nodes, service, _options(parts.query, servers)), servers


def _options(query: str, servers: str) -> dict[str, Any]:
    """Certificates are the same for sentinels and servers; names and passwords are not."""
    own = {name.removeprefix(OURS): value for name, value in parse_qsl(query) if name.startswith(OURS)}
    if not servers.startswith("rediss:"):
        return dict(own)
    parsed: dict[str, Any] = parse_url(servers)  # type: ignore[no-untyped-call]  # not annotated upstream
    return {**own, "ssl": True, **{name: value for name, value in parsed.items() if name.startswith("ssl_")}}


def _node(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
    return host.strip("[]"), int(port or PORT)
