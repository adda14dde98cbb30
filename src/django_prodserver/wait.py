"""Waits until what a process needs answers: databases and the broker."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.db import DatabaseError, connections

from django_prodserver.errors import UNREACHABLE, ProdserverError

TARGETS = "db, db:ALIAS, broker, or HOST:PORT"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
CONNECT_S = 2.0
PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}

#: Says why the target does not answer yet; None when it does.
Probe = Callable[[], str | None]


def wait_for(targets: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> None:
    """Return when every target answers.

    Raises:
        ProdserverError: one did not within the time (code 3), or is none of the targets (code 2).
    """
    deadline = time.monotonic() + timeout_s
    for target, probe in [(target, probe_of(target)) for target in targets]:
        _wait(target, probe, deadline, timeout_s, say)


def _wait(target: str, probe: Probe, deadline: float, timeout_s: float, say: Callable[[str], None]) -> None:
    pause_s, said = FIRST_PAUSE_S, False
    while (reason := probe()) is not None:
        if time.monotonic() + pause_s > deadline:
            raise ProdserverError(f"{target} did not answer within {timeout_s:g} s: {reason}", code=UNREACHABLE)
        if not said:
            say(f"Waiting for {target}: {reason}")
            said = True
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def probe_of(target: str) -> Probe:
    """What to ask for a target.

    Raises:
        ProdserverError: the text is no target, or this project has no such thing.
    """
    kind, _, rest = target.partition(":")
    if kind == "db":
        return _database(rest or "default")
    if target == "broker":
        return _broker(broker_url())
    if rest.isdigit():
        return _port(kind, int(rest))
    raise ProdserverError(f"--wait-for {target}: expected {TARGETS}")


def broker_url() -> str:
    """Where this project's tasks go, from the settings of the task app or of Celery; "" if nobody says."""
    written = getattr(settings, "DRAMATIQ_BROKER", {}).get("OPTIONS", {}).get("url")
    if written is not None:
        return str(written)
    # The task app needs no setting: its tasks are then in the default database.
    usual = "database://default" if "rundramatiq" in get_commands() else ""
    return str(getattr(settings, "CELERY_BROKER_URL", "") or usual)


def _broker(url: str) -> Probe:
    parts = urlsplit(url)
    if parts.scheme == "database":
        return _database(parts.netloc or "default")
    if not url:
        raise ProdserverError("--wait-for broker: no broker is configured (DRAMATIQ_BROKER or CELERY_BROKER_URL)")
    return _port(*_address(parts))


def _address(parts: SplitResult) -> tuple[str, int]:
    port = parts.port or PORTS.get(parts.scheme)
    if parts.hostname is None or port is None:
        raise ProdserverError(f"--wait-for broker: no host and port are known for a {parts.scheme!r} broker")
    return parts.hostname, port


def _database(alias: str) -> Probe:
    if alias not in connections:
        raise ProdserverError(f"--wait-for db:{alias}: DATABASES has {', '.join(connections)}")

    def probe() -> str | None:
        try:
            connections[alias].ensure_connection()
        except ImproperlyConfigured as error:
            raise ProdserverError(f"database {alias!r}: {error}") from error
        except DatabaseError as error:
            return str(error).strip().splitlines()[0]
        return None

    return probe


def _port(host: str, port: int) -> Probe:
    def probe() -> str | None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_S).close()
        except OSError as error:
            return f"{host}:{port}: {error.strerror or error}"
        return None

    return probe
