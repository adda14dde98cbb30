"""From a URL to what a connection needs. Pure; the URL's form was checked when it was configured."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from django_cfg.redact import redact_url
from django_cfg.tasks.brokers.amqp_url import GUEST

PORTS = {"amqp": 5672, "amqps": 5671}
TIMEOUT_S = 10.0
TRUE = {"1", "t", "true", "y", "yes"}
VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True)
class Address:
    """Where a server is and how to talk to it.

    Attributes:
        timeout_s: how long to wait for a connection or an answer.
        blocked_timeout_s: how long to wait while the server blocks publishers (memory or disk alarm).
        heartbeat_s: as the URL says; None: a worker's lease decides.
        shown: the URL without its password.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str
    shown: str
    is_tls: bool = False
    timeout_s: float = TIMEOUT_S
    blocked_timeout_s: float = TIMEOUT_S
    heartbeat_s: int | None = None
    tls: tuple[tuple[str, str], ...] = ()

    def tls_context(self) -> ssl.SSLContext:
        """Verified by default, host name included."""
        given = dict(self.tls)
        context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
        if "ssl_certfile" in given:
            context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"))
        if given.get("ssl_check_hostname", "yes").lower() not in TRUE:
            context.check_hostname = False
        if "ssl_cert_reqs" in given:
            mode = VERIFY[given["ssl_cert_reqs"].lower()]
            context.check_hostname = context.check_hostname and mode == ssl.CERT_REQUIRED
            context.verify_mode = mode
        return context


def address(url: str) -> Address:
    """What an `amqp://` or `amqps://` URL says; no user means guest, no path the virtual host "/"."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    heartbeat = options.get("heartbeat")
    return Address(
        host=parts.hostname or "localhost",
        port=parts.port or PORTS[parts.scheme],
        user=unquote(parts.username or GUEST),
        password=unquote(parts.password or GUEST),
        virtual_host=unquote(parts.path[1:]) or "/",
        shown=redact_url(url),
        is_tls=parts.scheme == "amqps",
        timeout_s=float(options.get("socket_timeout", TIMEOUT_S)),
        blocked_timeout_s=float(options.get("blocked_connection_timeout", TIMEOUT_S)),
        heartbeat_s=None if heartbeat is None else int(heartbeat),
        tls=tuple((name, value) for name, value in options.items() if name.startswith("ssl_")),
    )
