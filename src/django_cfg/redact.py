"""URLs and values without their secrets, for every message and page. Standard library only.

Hiding errs on the safe side: where a malformed URL leaves open which part is the password, more is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "***"
LONGEST_SHOWN = 200

_SECRET_NAME = re.compile(
    r"passw|passphrase|\bpass\b|_pass$|pwd|secret|token|api_?key|private_?key|access_?key|credential|auth$",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.\-]*)://")
_PLAIN_USER = re.compile(r"[A-Za-z0-9_.\-]*")
_PORT = re.compile(r"\d{1,5}")
# At the start of the tail, in case the text is a query alone, and after each separator.
_QUERY_SECRET = re.compile(r"([?&;][^=&;]*(?:passw|pwd|secret|token|key|credential|auth)[^=&;]*=).*", re.I | re.S)


def is_secret_name(name: str) -> bool:
    """Whether a field, setting or variable of this name holds something nobody should read in a log."""
    return _SECRET_NAME.search(name) is not None


def redact_url(url: str) -> str:
    """The URL with password and secret options replaced by `***`, whatever its shape.

    The user name stays when it is plain text before a colon; a lone user part is hidden, because a password
    written without its colon looks the same. A port that is not a number and a fragment are hidden too:
    both are how an unescaped password shows up.
    """
    found = _SCHEME.match(url)
    scheme, rest = (f"{found[1]}://", url[found.end() :]) if found else ("", url.strip())
    head, at, tail = rest.rpartition("@")
    if at and "?" in head:
        # Either the password holds a "?" or an option holds an "@": no telling which side the secret is on.
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{_user(head)}{at}{_tail(tail)}"


def _user(head: str) -> str:
    if not head:
        return ""
    user, colon, _ = head.partition(":")
    if colon and _PLAIN_USER.fullmatch(user):
        return f"{user}:{HIDDEN}"
    return HIDDEN


def _tail(tail: str) -> str:
    location, question, query = tail.partition("?")
    location, sharp, _ = location.partition("#")
    authority, slash, path = location.partition("/")
    shown = _authority(authority) + slash + path
    if sharp:
        return f"{shown}#{HIDDEN}"
    return shown + _query(question + query)


def _authority(authority: str) -> str:
    if authority.startswith("["):  # IPv6
        host, bracket, port = authority.partition("]")
        host, port = host + bracket, port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not port:
        return authority
    return f"{host}:{port if _PORT.fullmatch(port) else HIDDEN}"


def _query(query: str) -> str:
    query, sharp, _ = query.partition("#")
    # Everything after the first secret goes: an unescaped "&" inside it would start a second "option".
    return _QUERY_SECRET.sub(rf"\1{HIDDEN}", query) + (f"#{HIDDEN}" if sharp else "")


def redact_value(name: str, value: object) -> str:
    """One value as text for a message, without secrets and never longer than a line or two.

    Args:
        name: what the value is called; a name like `password` or `bot_token` hides all of it.
        value: anything; objects other than plain data are shown by their type alone.
    """
    text = _text(name, value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _text(name: str, value: object) -> str:
    if is_secret_name(name) and value not in (None, ""):
        return HIDDEN
    match value:
        case bool() | int() | float() | None:
            return repr(value)
        case str():
            return repr(redact_url(value) if _may_be_url(name, value) else value)
        case Mapping():
            return "{" + ", ".join(f"{k!s}: {_text(str(k), v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_text(name, item) for item in value) + "]"
    return f"<{type(value).__name__}>"


def _may_be_url(name: str, value: str) -> bool:
    return "://" in value or "@" in value or name.lower().endswith(("url", "uri", "location", "dsn"))
