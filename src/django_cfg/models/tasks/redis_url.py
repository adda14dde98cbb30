"""The database number inside a Redis URL: read it and replace it; all else survives byte for byte."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

UNIX_SCHEME = "unix"


def database_of(url: str) -> int:
    """The database number that a client would use; 0 when the URL names none.

    `?db=` beats the path, as in redis-py; of a socket URL the path is the socket.
    """
    parts = urlsplit(url)
    for option in reversed(parts.query.split("&")):
        if option.startswith("db="):
            return int(option.removeprefix("db="))
    path = "" if parts.scheme == UNIX_SCHEME else parts.path.strip("/")
    return int(path or 0)


def with_database(url: str, database: int) -> str:
    """The same server with another database number."""
    parts = urlsplit(url)
    options = [option for option in parts.query.split("&") if option and not option.startswith("db=")]
    if parts.scheme == UNIX_SCHEME:
        return _joined(parts, parts.path, [*options, f"db={database}"])
    return _joined(parts, f"/{database}", options)


def _joined(parts: SplitResult, path: str, options: list[str]) -> str:
    # Not urlunsplit: it drops the "//" of unix:// on some versions of Python.
    query = f"?{'&'.join(options)}" if options else ""
    return f"{parts.scheme}://{parts.netloc}{path}{query}"
