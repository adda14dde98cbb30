"""How an idle worker waits on a database: SQLite's data_version, PostgreSQL's LISTEN, else short polls."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from django_cfg.tasks.brokers.database.statements import CHANNEL

try:
    import psycopg
except ImportError:  # an optional driver: without it there is no PostgreSQL to wait for
    DRIVER_ERRORS: tuple[type[Exception], ...] = ()
else:
    DRIVER_ERRORS = (psycopg.Error,)

CONNECT_ERRORS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *DRIVER_ERRORS)
POLL_S = 0.1
LISTEN_POLL_S = 1.0
FIRST_LOOK_S, SLOWEST_LOOK_S = 0.002, 0.02
SPENT_READ = 4096

#: (queues) -> (something is ready, milliseconds until the next is due or None)
Look = Callable[[tuple[str, ...]], tuple[bool, int | None]]


class PollingWaiter:
    """Looks at a growing interval; `interval` says when the next look is worth it."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._woken = threading.Event()

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while not self._has_work(queues):
                left = deadline - time.monotonic()
                if left <= 0 or self._pause(left):
                    return
        finally:
            self._woken.clear()

    def _has_work(self, queues: tuple[str, ...]) -> bool:
        ready, next_due_ms = self._look(queues)
        return ready or (next_due_ms is not None and next_due_ms <= 0)

    def _pause(self, left_s: float) -> bool:
        """Sleep until a look is worth it; True when woken."""
        return self._woken.wait(min(POLL_S, left_s))

    def wake(self) -> None:
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

    Behind a pooler that swallows notifications it still looks once a second.
    """

    def __init__(self, alias: str, look: Look) -> None:
        self._alias = alias
        self._look = look
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._ends = threading.Lock()
        self._is_closed = False
        self._listener: Any = None

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._listen()
        while True:
            ready, next_due_ms = self._look(queues)
            left = deadline - time.monotonic()
            if ready or left <= 0 or (next_due_ms is not None and next_due_ms <= 0):
                return
            until_due = LISTEN_POLL_S if next_due_ms is None else next_due_ms / 1000
            if self._select(min(left, until_due, LISTEN_POLL_S)):
                return

    def _select(self, timeout_s: float) -> bool:
        """Wait for a notification or a wake; True when woken."""
        ends = [self._read_end]
        if self._listener is not None:
            ends.append(self._listener.fileno())
        readable, _, _ = select.select(ends, [], [], timeout_s)
        if self._listener is not None and len(ends) > 1 and ends[1] in readable:
            self._drain()
        if self._read_end in readable:
            os.read(self._read_end, SPENT_READ)
            return True
        return False

    def _drain(self) -> None:
        try:
            for _ in self._listener.notifies(timeout=0):
                pass
        except DRIVER_ERRORS:
            self._drop()

    def _listen(self) -> None:
        """Open the listening connection; without one the waiter still polls."""
        if self._listener is not None and not self._listener.closed:
            return
        connection = connections[self._alias].copy()
        try:
            connection.connect()
            self._listener = connection.connection
            self._listener.execute(f"LISTEN {CHANNEL}")
        except CONNECT_ERRORS:
            self._drop()

    def _drop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def wake(self) -> None:
        with self._ends:
            if self._is_closed:
                return  # a task that outlived its worker; its pipe's number may be another file by now
            try:
                os.write(self._write_end, b"w")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already

    def close(self) -> None:
        self._drop()
        with self._ends:
            self._is_closed = True
            os.close(self._read_end)
            os.close(self._write_end)
