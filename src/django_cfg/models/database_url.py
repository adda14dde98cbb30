"""A database as one URL: what it says, and a text with a cure for what cannot be read. Opens no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django_cfg.errors import ConfigurationError
from django_cfg.models.tasks.url_options import is_yes, option_complaint
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

#: Hosting platforms write the second and the fourth.
ENGINE_OF: Mapping[str, str] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite3",
}
_SCHEMES = tuple(ENGINE_OF)
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {
        "application_name": "text",
        "client_encoding": "text",
        "connect_timeout": "a whole number",
        "gssencmode": "text",
        "host": "text",
        "keepalives": "a whole number",
        "keepalives_count": "a whole number",
        "keepalives_idle": "a whole number",
        "keepalives_interval": "a whole number",
        "options": "text",
        "passfile": "text",
        "pool": "true or false",
        "sslcert": "text",
        "sslkey": "text",
        "sslmode": "text",
        "sslrootcert": "text",
        "target_session_attrs": "text",
        "tcp_user_timeout": "a whole number",
    },
    "mysql": {
        "charset": "text",
        "connect_timeout": "a whole number",
        "init_command": "text",
        "isolation_level": "text",
        "read_timeout": "a whole number",
        "ssl_ca": "text",
        "ssl_cert": "text",
        "ssl_key": "text",
        "ssl_mode": "text",
        "unix_socket": "text",
        "write_timeout": "a whole number",
    },
    "sqlite3": {"timeout": "a whole number", "transaction_mode": "text"},
}
_READ: Mapping[str, Callable[[str], Any]] = {"text": str, "a whole number": int, "true or false": is_yes}
_EXAMPLE = {
    "postgresql": "postgresql://user:password@{host}:5432/name",
    "mysql": "mysql://user:password@{host}:3306/name",
    "sqlite3": "sqlite:///db.sqlite3",
}
_ENGINE_AT = {":5432": "postgresql", ":3306": "mysql"}


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """What a URL says; an empty value is one that it leaves open."""

    engine: str
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_url(url: str) -> DatabaseAddress:
    """The parts of a URL, decoded.

    Raises:
        ConfigurationError: it cannot be used; the message says why and what to write.
    """
    for complaint in _complaints(url):
        raise ConfigurationError(f"url {redact_url(url)!r} {complaint}")
    parts = urlsplit(url)
    engine = ENGINE_OF[parts.scheme]
    # The fourth slash of an absolute file is part of its name.
    name, options = unquote(parts.path.removeprefix("/")), _options(engine, parts.query)
    if engine == "sqlite3":
        return DatabaseAddress(engine, name or parts.netloc, options=options)
    return DatabaseAddress(
        engine,
        name,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        options.pop("host", unquote(parts.hostname or "")),
        parts.port,
        options,
    )


def _options(engine: str, query: str) -> dict[str, Any]:
    found = {name: _READ[_OPTIONS[engine][name]](value) for name, value in parse_qsl(query)}
    tls = {name.removeprefix("ssl_"): found.pop(name) for name in ("ssl_ca", "ssl_cert", "ssl_key") if name in found}
    return {**found, "ssl": tls} if tls else found


def _complaints(url: str) -> Iterator[str]:
    """What is wrong, the most basic first; later checks may rely on the earlier ones."""
    yield from text_complaints(url)
    found = SCHEME.match(url)
    if found is None:
        yield _not_a_url(url)
        return
    scheme, rest = found[1], url[found.end() :]
    if scheme not in _SCHEMES:
        yield wrong_scheme(scheme, _SCHEMES, redact_url(url)) + "; for another engine write engine and name"
        return
    if scheme == "sqlite":
        yield from _file(rest, redact_url(url))
        return
    yield from unescaped(rest)
    yield from _server(url, ENGINE_OF[scheme])


def _not_a_url(url: str) -> str:
    host, _, port = url.partition("/")[0].partition(":")
    engine = _ENGINE_AT.get(f":{port}")
    if BARE_HOST.fullmatch(url) and engine:
        return f"is not a URL; did you mean {_EXAMPLE[engine].format(host=host)!r}?"
    return f"is not a URL; write one of {', '.join(_EXAMPLE.values()).format(host='localhost')}"


def _server(url: str, engine: str) -> Iterator[str]:
    shown, example = redact_url(url), _EXAMPLE[engine].format(host="host")
    parts = split_or_complaint(url)
    if isinstance(parts, str):
        yield parts
        return
    steps = [step for step in parts.path.split("/") if step]
    if not steps:
        yield f"names no database; write {example}"
    if len(steps) > 1:
        yield f"names two databases ({quoted('/'.join(steps), shown)}); write {example}"
    yield from option_complaint(parts.query, _OPTIONS[engine], shown)


def _file(rest: str, shown: str) -> Iterator[str]:
    location, _, query = rest.partition("?")
    if location != ":memory:" and not (location.startswith("/") and location.strip("/")):
        yield "names no file; write sqlite:///db.sqlite3, sqlite:////absolute/path or sqlite://:memory:"
    if "#" in rest:
        yield "holds an unescaped #; encode # as %23"
    yield from option_complaint(query, _OPTIONS["sqlite3"], shown)
