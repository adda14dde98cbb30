"""What a broker URL may look like, and a text with a cure for everything else. Opens no connection.

No message shows a part of the URL that `redact_url` would hide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import SplitResult, urlsplit

from django_cfg.errors import BrokerURLError
from django_cfg.models.tasks.url_options import (
    AMQP_OPTIONS,
    REDIS_OPTIONS,
    SENTINEL_OPTIONS,
    is_whole_number,
    option_complaint,
    tls_complaint,
)
from django_cfg.models.url_text import (
    BARE_HOST,
    SCHEME,
    quoted,
    split_or_complaint,
    text_complaints,
    unescaped,
    wrong_scheme,
)
from django_cfg.redact import redact_url

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel", "sentinel")
REDIS_SCHEMES = ("redis", "rediss", "unix")
AMQP_SCHEMES = ("amqp", "amqps")
BROKER_SCHEMES = (*REDIS_SCHEMES, *AMQP_SCHEMES, "database", "stub", *SENTINEL_SCHEMES)
# RabbitMQ cannot answer "give me the result of that task", so results never go there.
RESULT_SCHEMES = (*REDIS_SCHEMES, "database", "stub", *SENTINEL_SCHEMES)

#: By scheme: which one is the same with TLS.
_SECURED = {
    "redis": "rediss",
    "amqp": "amqps",
    "unix": "rediss",
    "redis+sentinel": "rediss+sentinel",
    "sentinel": "rediss+sentinel",
}

_SENTINEL = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.\-]+)(:\d{1,5})?")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")
_RABBITMQ_PORTS = (":5671", ":5672")


def check_url(name: str, url: str, schemes: tuple[str, ...] = BROKER_SCHEMES) -> str:
    """The URL as it is.

    Args:
        name: the field, for the message.
        url: not empty; `""` has a meaning that its field decides.
        schemes: what may stand before `://`.

    Raises:
        BrokerURLError: it cannot be used; the message says why and what to write.
    """
    for complaint in _complaints(url, schemes):
        raise BrokerURLError(f"{name} {redact_url(url)!r} {complaint}")
    return url


def _complaints(url: str, schemes: tuple[str, ...]) -> Iterator[str]:
    """What is wrong, the most basic first; later checks may rely on the earlier ones."""
    yield from text_complaints(url)
    found = SCHEME.match(url)
    if found is None:
        yield _not_a_url(url, schemes)
        return
    scheme = found[1]
    if scheme not in schemes:
        yield wrong_scheme(scheme, schemes, redact_url(url))
        return
    rest = url[found.end() :]
    if scheme != "unix" or rest.startswith(":"):  # a socket's path may hold an "@"
        yield from unescaped(rest)
    parts = urlsplit(url) if scheme in SENTINEL_SCHEMES else split_or_complaint(url)
    if isinstance(parts, str):
        yield parts
        return
    yield from _CHECKS[scheme](parts, redact_url(url))
    if scheme in _SECURED:
        yield from tls_complaint(parts.query, _SECURED[scheme])


def _not_a_url(url: str, schemes: tuple[str, ...]) -> str:
    if not BARE_HOST.fullmatch(url):
        return f"is not a URL; write one of {_examples(schemes, 'localhost')}"
    host = url.partition("/")[0]
    if "amqp" in schemes and host.endswith(_RABBITMQ_PORTS):
        return f"is not a URL; did you mean 'amqp://user:password@{host}/'?"
    if ":" in host and "redis" in schemes:
        return f"is not a URL; did you mean 'redis://{host}/0'?"
    return f"is not a URL; write one of {_examples(schemes, host)}"


def _examples(schemes: tuple[str, ...], host: str) -> str:
    examples = {
        "redis": f"redis://{host}:6379/0",
        "amqp": f"amqp://user:password@{host}:5672/",
        "database": "database://default",
    }
    return ", ".join(text for scheme, text in examples.items() if scheme in schemes)


def _redis(parts: SplitResult, shown: str) -> Iterator[str]:
    if not parts.hostname:
        yield "names no host; write redis://localhost:6379/0"
    steps = [step for step in parts.path.split("/") if step]
    if len(steps) > 1:
        yield f"names two databases ({quoted('/'.join(steps), shown)}); write redis://host:port/{steps[-1]}"
    elif steps and not is_whole_number(steps[0]):
        yield f"database must be a number (0–15 unless the server has more), got {quoted(steps[0], shown)}"
    yield from option_complaint(parts.query, REDIS_OPTIONS, shown)
    yield from _two_databases(parts, steps)


def _two_databases(parts: SplitResult, steps: list[str]) -> Iterator[str]:
    option = re.search(r"(?:^|&)db=(\d+)", parts.query)
    if steps and option and steps[0] != option[1]:
        yield f"names two databases (/{steps[0]} and ?db={option[1]}); keep one of them"


def _sentinel(parts: SplitResult, shown: str) -> Iterator[str]:
    """Several hosts are no URL for the standard library, so they are read here."""
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if not all(_SENTINEL.fullmatch(host) for host in hosts):
        yield "must name sentinels as host:port, with commas between; write redis+sentinel://h1:26379,h2:26379/service/0"
    service, *rest = [step for step in parts.path.split("/") if step] or [""]
    if not service:
        yield "names no service; write redis+sentinel://h1:26379,h2:26379/service/0"
    if len(rest) > 1 or not all(map(is_whole_number, rest)):
        yield f"after the service comes one database number, got {quoted('/'.join(rest), shown)}"
    yield from option_complaint(parts.query, SENTINEL_OPTIONS, shown)


def _unix(parts: SplitResult, shown: str) -> Iterator[str]:
    if len(parts.path) < 2:
        yield "names no socket; write unix:///path/to/redis.sock?db=0"
    yield from option_complaint(parts.query, REDIS_OPTIONS, shown)


def _amqp(parts: SplitResult, shown: str) -> Iterator[str]:
    if not parts.hostname:
        yield "names no host; write amqp://user:password@localhost:5672/"
    if "/" in parts.path.removeprefix("/"):
        yield "names two virtual hosts; write amqp://user:password@host:port/vhost with / in a name as %2F"
    yield from option_complaint(parts.query, AMQP_OPTIONS, shown)


def _database(parts: SplitResult, shown: str) -> Iterator[str]:
    if parts.path.strip("/") or parts.query or not _ALIAS.fullmatch(parts.netloc):
        yield "must be database:// and an alias of DATABASES, nothing else; write database://default"


def _stub(parts: SplitResult, shown: str) -> Iterator[str]:
    if parts.netloc or parts.path.strip("/") or parts.query:
        yield "takes nothing after stub://"


_CHECKS: dict[str, Callable[[SplitResult, str], Iterator[str]]] = {
    **dict.fromkeys(("redis", "rediss"), _redis),
    **dict.fromkeys(AMQP_SCHEMES, _amqp),
    **dict.fromkeys(SENTINEL_SCHEMES, _sentinel),
    "unix": _unix,
    "database": _database,
    "stub": _stub,
}
