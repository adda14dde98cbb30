"""Options after the `?` of a broker URL: which exist, and what each expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qsl

from django_cfg.models.problem import did_you_mean
from django_cfg.redact import HIDDEN

_VERIFY = {"none", "optional", "required"}
_YES = {"1", "t", "true", "y", "yes"}
_BOOLS = _YES | {"0", "f", "false", "n", "no"}


def is_whole_number(text: str) -> bool:
    """Digits 0–9 alone: `int` and `str.isdecimal` also take those of other scripts, which no server does."""
    return text.isascii() and text.isdecimal()


def is_yes(text: str) -> bool:
    """What an option of "true or false" says."""
    return text.lower() in _YES


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False


# What an option expects, in words, and the test for it.
_EXPECTED: Mapping[str, Callable[[str], bool]] = {
    "a number of seconds": _is_number,
    "a whole number": is_whole_number,
    "true or false": lambda text: text.lower() in _BOOLS,
    "text": bool,
    "none, optional or required": lambda text: text.lower() in _VERIFY,
    "a number of 2 or 3": lambda text: text in ("2", "3"),
}

REDIS_OPTIONS: Mapping[str, str] = {
    "client_name": "text",
    "db": "a whole number",
    "health_check_interval": "a number of seconds",
    "max_connections": "a whole number",
    "password": "text",
    "protocol": "a number of 2 or 3",
    "retry_on_timeout": "true or false",
    "socket_connect_timeout": "a number of seconds",
    "socket_keepalive": "true or false",
    "socket_timeout": "a number of seconds",
    "ssl_ca_certs": "text",
    "ssl_cert_reqs": "text",
    "ssl_certfile": "text",
    "ssl_check_hostname": "true or false",
    "ssl_keyfile": "text",
    "username": "text",
}

#: Who we are to the sentinels themselves.
SENTINEL_OPTIONS: Mapping[str, str] = {**REDIS_OPTIONS, "sentinel_password": "text", "sentinel_username": "text"}

AMQP_OPTIONS: Mapping[str, str] = {
    "blocked_connection_timeout": "a number of seconds",
    "heartbeat": "a whole number",
    "socket_timeout": "a number of seconds",
    "ssl_ca_certs": "text",
    "ssl_cert_reqs": "none, optional or required",
    "ssl_certfile": "text",
    "ssl_check_hostname": "true or false",
    "ssl_keyfile": "text",
}


def option_complaint(query: str, known: Mapping[str, str], shown: str) -> Iterator[str]:
    """The wrong options of a query, with the known ones or the expected kind of value.

    Args:
        query: the text after the `?`.
        known: name of each option and the kind of value that it expects.
        shown: the redacted URL; nothing that it hides is repeated.
    """
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            yield _unknown(name, known, shown)
        elif not _EXPECTED[known[name]](value):
            got = repr(value) if f"{name}={value}" in shown else HIDDEN
            yield f"option {name} expects {known[name]}, got {got}"


def tls_complaint(query: str, tls_scheme: str) -> Iterator[str]:
    """Options of TLS in a URL whose scheme has none: certificates that nobody would look at."""
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name.startswith("ssl_"):
            yield f"has the option {name}, but no TLS; write {tls_scheme}://"


def _unknown(name: str, known: Mapping[str, str], shown: str) -> str:
    if name not in shown:
        return f"has an unknown option; known: {', '.join(known)}"
    return f"has the unknown option {name!r}; {did_you_mean(name, list(known))}"
