"""How an idle worker waits on a database: SQLite's data_version, PostgreSQL's LISTEN, else short polls."""

from __future__ import annotations

import logging
import math
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from django_cfg.tasks.brokers.bell import Bell
from django_cfg.tasks.brokers.database.statements import CHANNEL

try:
    import psycopg
except ImportError:  # an optional driver: without it there is no PostgreSQL to wait for
    DRIVER_ERRORS: tuple[type[Exception], ...] = ()
else:
    DRIVER_ERRORS = (psycopg.Error,)

logger = logging.getLogger(__name__)
CONNECT_ERRORS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *DRIVER_ERRORS)
FIRST_POLL_S, SLOWEST_POLL_S = 0.005, 0.25
LISTEN_POLL_S, DEAF_POLL_S = 1.0, 0.075
#: How long a notification to oneself may take before that is worth a warning, and how long it is waited for.
PROBE_S, PROMPT_S = 1.0, 0.1
FIRST_LOOK_S, SLOWEST_LOOK_S = 0.002, 0.02

#: (queues) -> (something is ready, milliseconds until the next is due or None)
Look = Callable[[tuple[str, ...]], tuple[bool, int | None]]


class PollingWaiter:
    """Looks at growing intervals: often after work was there, seldom when nothing comes.

    Parameters:
        first_s, slowest_s: the first interval of a wait and the longest, in seconds.
    """

    def __init__(self, look: Look, first_s: float = FIRST_POLL_S, slowest_s: float = SLOWEST_POLL_S) -> None:
        self._look = look
        self._first_s, self._slowest_s = first_s, slowest_s
        self._pause_s = first_s
        self._woken = threading.Event()

    def begin(self) -> None:
        """Nothing to find out."""

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready, next_due_ms = self._look(queues)
                if ready or (next_due_ms is not None and next_due_ms <= 0):
                    self._pause_s = self._first_s
                    return
                until_due = left if next_due_ms is None else next_due_ms / 1000
                if self._woken.wait(min(self._pause_s, until_due, left)):
                    return
                # Kept from one wait to the next: an idle worker's waits are short, its idleness is not.
                self._pause_s = min(self._pause_s * 1.5, self._slowest_s)
        finally:
            self._woken.clear()

    def wake(self) -> None:
        if not self._woken.is_set():  # it would take a lock each time
            self._woken.set()

    def close(self) -> None:
        """Nothing to give back."""


class SqliteWaiter(PollingWaiter):
    """SQLite counts commits of other connections: reading that number is far cheaper than a query."""

    def __init__(self, version: Callable[[], int], look: Look) -> None:
        super().__init__(look)
        self._version = version

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline, pause_s = time.monotonic() + timeout_s, FIRST_LOOK_S
        version, due_at = self._version(), deadline
        try:
            ready, next_due_ms = self._look(queues)
            while not ready:
                if next_due_ms is not None:
                    due_at = time.monotonic() + next_due_ms / 1000
                    next_due_ms = None
                left = min(deadline, due_at) - time.monotonic()
                if left <= 0 or self._woken.wait(min(pause_s, left)):
                    return
                pause_s = min(pause_s * 1.5, SLOWEST_LOOK_S)
                if (now := self._version()) != version:
                    version, (ready, next_due_ms) = now, self._look(queues)
        finally:
            self._woken.clear()


class PostgresWaiter:
    """LISTEN on a connection of its own, beside a pipe that ends the wait from other threads.

    A pooler that hands connections out by the transaction swallows notifications. So the waiter sends one to itself,
    over the other connection of its thread; until it comes back it looks often instead of listening.

    Parameters:
        note_direct: told whether notifications arrive, and so whether a connection stays the same.
    """

    def __init__(self, alias: str, look: Look, note_direct: Callable[[bool], None]) -> None:
        self._alias = alias
        self._look = look
        self._note_direct = note_direct
        self._bell = Bell()
        self._listener: Any = None
        self._hears = False
        self._warn_at = math.inf

    def begin(self) -> None:
        """Find out whether notifications arrive: a worker that finds its queue full would not wait for a long time."""
        self._listen()

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        with self._bell.heard() as is_silent:
            if is_silent:
                self._wait(queues, time.monotonic() + timeout_s)

    def _wait(self, queues: tuple[str, ...], deadline: float) -> None:
        self._listen()
        while True:
            ready, next_due_ms = self._look(queues)
            left = deadline - time.monotonic()
            if ready or left <= 0 or (next_due_ms is not None and next_due_ms <= 0):
                return
            until_due = LISTEN_POLL_S if next_due_ms is None else next_due_ms / 1000
            if self._select(min(left, until_due, LISTEN_POLL_S if self._hears else DEAF_POLL_S)):
                return

    def _select(self, timeout_s: float) -> bool:
        """Wait for a notification or a wake; True when woken."""
        ends = [self._bell.fileno()]
        if self._listener is not None:
            ends.append(self._listener.fileno())
        readable, _, _ = select.select(ends, [], [], timeout_s)
        if self._listener is not None and len(ends) > 1 and ends[1] in readable:
            self._drain()
        if not self._hears and time.monotonic() > self._warn_at:
            self._warn()
        if ends[0] in readable:
            self._bell.answer()
            return True
        return False

    def _drain(self) -> None:
        try:
            if list(self._listener.notifies(timeout=0)):
                self._hear(True)
        except DRIVER_ERRORS:
            self._drop()

    def _hear(self, hears: bool) -> None:
        if hears != self._hears:
            self._hears = hears
            self._note_direct(hears)

    def _warn(self) -> None:
        self._warn_at = math.inf
        logger.warning(
            "Notifications of database %r do not arrive, as behind a pooler that hands connections out by the "
            "transaction; idle workers look for work every %d ms instead.",
            self._alias,
            DEAF_POLL_S * 1000,
        )

    def _listen(self) -> None:
        """Open the listening connection and try it; without one the waiter still polls."""
        if self._listener is not None and not self._listener.closed:
            return
        self._hear(False)
        connection = connections[self._alias].copy()
        try:
            connection.connect()
            self._listener = connection.connection
            self._listener.execute(f"LISTEN {CHANNEL}")
            with connections[self._alias].cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, "do I hear?"])
            self._warn_at = time.monotonic() + PROBE_S
            if select.select([self._listener.fileno()], [], [], PROMPT_S)[0]:
                self._drain()
        except CONNECT_ERRORS:
            self._drop()

    def _drop(self) -> None:
        listener, self._listener = self._listener, None
        self._hear(False)
        if listener is not None:
            listener.close()

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._drop()
        self._bell.close()
