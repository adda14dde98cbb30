"""Names that may be written in a configuration: queues, modules, middleware, key prefixes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django_cfg.errors import ConfigurationError
from django_cfg.redact import redact_value

_QUEUE = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")
_RESERVED_ENDINGS = (".DQ", ".XQ")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_AMQP_PREFIX = re.compile(r"[A-Za-z0-9_.\-]{1,16}")
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


def check_amqp_prefix(prefix: str) -> str:
    """A prefix of queues in RabbitMQ; short, because a delayed message carries its way in 255 bytes.

    Raises:
        ConfigurationError: empty, too long, or with characters that are the broker's own.
    """
    if not _AMQP_PREFIX.fullmatch(prefix):
        shown = redact_value("prefix", prefix)
        raise ConfigurationError(f"rabbitmq_prefix: {shown} must be 1 to 16 letters, digits and any of _ . -")
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


_LISTEN = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]:|[A-Za-z0-9._\-]+:|:)?(\d{1,5})")


def check_listen(text: str) -> str:
    """An address to listen on, as it is.

    Raises:
        ConfigurationError: it is not `host:port`.
    """
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[1]) > 65535:
        raise ConfigurationError(f"probe: expected host:port with a port of 0-65535, got {redact_value('probe', text)}")
    return text


def _is_url_behind(rest: str) -> bool:
    """Whether this, behind a scheme, is a URL to which a request can be sent: ASCII behind the host, as HTTP has it."""
    try:
        port = urlsplit(rest).port
    except ValueError:
        return False
    return port != 0 and re.fullmatch(r"//[^/@\s]+(/[!-~]*)?", rest) is not None


def check_target(target: str) -> str:
    """Who is told of dead letters, as it is. The path of a webhook is a secret and never shown.

    Raises:
        ConfigurationError: it is neither a mail address, a chat nor a webhook.
    """
    scheme, colon, rest = target.partition(":")
    is_webhook = scheme in ("https", "http") and _is_url_behind(rest)
    is_mail = scheme == "mailto" and re.fullmatch(r"[^@\s,]+@[^@\s,]+(,[^@\s,]+@[^@\s,]+)*", rest)
    is_chat = scheme == "telegram" and re.fullmatch(r"-?\d+|@\w+", rest)
    if not (is_webhook or is_mail or is_chat):
        raise ConfigurationError(
            f"notices: {scheme + ':...' if colon else 'the entry'} is none of mailto:ops@example.com, "
            "telegram:-100123 (or telegram:@name), https://host/path"
        )
    return target
