"""Names that may be written in a configuration: queues, modules, middleware, key prefixes."""

from __future__ import annotations

import re

from django_cfg.errors import ConfigurationError
from django_cfg.redact import redact_value

_QUEUE = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")
_RESERVED_ENDINGS = (".DQ", ".XQ")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_KEY_PREFIX = re.compile(r"[A-Za-z0-9_.:{}\-]+")


def check_queue(name: str) -> str:
    """The name of a queue, if every broker can carry it.

    Raises:
        ConfigurationError: wrong characters, or an ending that the broker layout uses itself.
    """
    if not _QUEUE.fullmatch(name):
        raise ConfigurationError(
            f"queues: {redact_value('queue', name)} is not a queue name; "
            "start with a letter or _ and go on with letters, digits, dots, _ and -"
        )
    if name.endswith(_RESERVED_ENDINGS):
        raise ConfigurationError(f"queues: {name!r} may not end in .DQ or .XQ, which brokers use; rename it")
    return name


def check_dotted(field: str, path: str, *, of: str) -> str:
    """A dotted Python name; `of` says what stands there, for the message.

    Raises:
        ConfigurationError: it cannot be imported by any means.
    """
    if not _DOTTED.fullmatch(path):
        raise ConfigurationError(f"{field}: {redact_value(field, path)} is not the dotted name of {of}")
    return path


def check_key_prefix(prefix: str) -> str:
    """A prefix of Redis keys.

    Raises:
        ConfigurationError: empty, or with characters that do not survive a shell.
    """
    if not _KEY_PREFIX.fullmatch(prefix):
        shown = redact_value("prefix", prefix)
        raise ConfigurationError(
            f"redis_key_prefix: {shown} must be letters, digits and any of _ . : - {{ }}, at least one"
        )
    return prefix


def check_unique(field: str, names: list[str]) -> list[str]:
    """The list as it is.

    Raises:
        ConfigurationError: a name stands in it twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{field} names {', '.join(map(repr, twice))} more than once; keep one")
    return names
