"""Which Redis database a URL means. Pure."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

SCHEMES = {"redis", "rediss"}
LOOPBACK = {"127.0.0.1", "::1"}


def same_redis_database(one: str, other: str) -> bool:
    """Whether two URLs name one database of one Redis server."""
    first = _place(one)
    return first is not None and first == _place(other)


def _place(url: str) -> tuple[str, int, str] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
    except ValueError:
        return None  # a malformed URL is the business of whoever connects with it
    if parts.scheme not in SCHEMES:
        return None
    number = parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[-1]
    return ("localhost" if host in LOOPBACK else host, port, number)
