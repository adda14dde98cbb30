"""Database connections of worker threads: kept between tasks, checked after errors, never leaked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.signals import connection_created
from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

#: For a send that hangs at the end of a worker, in seconds; the process ends anyway.
PATIENCE_S = 2.0


class Connections(Middleware):
    """Closes broken and old connections around each task.

    Parameters:
        max_age_s: how long a worker's connection lives, in seconds; None: for ever, 0: one task.
    """

    def __init__(self, max_age_s: int | None = 60) -> None:
        self.max_age_s = max_age_s

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        keep_open(self.max_age_s)

    def before_process_message(self, broker: Broker, message: Any) -> None:
        _close_old()

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        _close_old()

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        _close_old()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """The thread in which async tasks reach the database belongs to no worker thread."""
        closing = SyncToAsync.single_thread_executor.submit(connections.close_all)
        wait([closing], timeout=PATIENCE_S)

    def before_worker_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        connections.close_all()

    def before_consumer_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        connections.close_all()


def keep_open(max_age_s: int | None) -> None:
    """`CONN_MAX_AGE=0` suits web requests; a worker would reconnect for every task. A pool decides for itself."""
    for alias in connections:
        settings = connections.settings[alias]
        if not settings.get("OPTIONS", {}).get("pool"):
            settings["CONN_MAX_AGE"] = max_age_s
            settings["CONN_HEALTH_CHECKS"] = True


class _Opened(threading.local):
    """The connections that this thread ever opened; asking Django for them costs more than most tasks.

    Attributes:
        is_callers: the connections belong to whoever runs tasks here, with a transaction open perhaps.
        is_engines: no code of the project runs in this thread.
        is_of_async: it is the thread in which async tasks reach the database.
    """

    is_callers = False
    is_engines = False
    is_of_async = False

    def __init__(self) -> None:
        self.connections: list[Any] = []


_opened = _Opened()
#: Set when that thread has opened its first connection.
_async_has_opened = threading.Event()


def _note_opened(connection: Any, **_: Any) -> None:
    if all(known is not connection for known in _opened.connections):
        _opened.connections.append(connection)
    if _opened.is_of_async:
        _async_has_opened.set()
    if _opened.is_engines:
        connection.queries_log = deque(maxlen=0)


connection_created.connect(_note_opened, dispatch_uid="django_cfg.tasks.middleware.connections")


def keep_no_queries() -> None:
    """For a thread of the engine: with DEBUG, Django keeps the last 9,000 statements, which nobody would read here."""
    _opened.is_engines = True


@contextmanager
def left_open() -> Iterator[None]:
    """Run tasks in this thread without closing what is open: a `TestCase` would lose its transaction."""
    before, _opened.is_callers = _opened.is_callers, True
    try:
        yield
    finally:
        _opened.is_callers = before


def _close_old() -> None:
    if _opened.is_callers:
        return
    for connection in _opened.connections:
        connection.queries_log.clear()  # with DEBUG; as Django does before each request
        connection.close_if_unusable_or_obsolete()


# -- async tasks -------------------------------------------------------------------------------------------


def look_after_async() -> None:
    """From now on notice what the thread opens in which async tasks reach the database: one for all of them."""
    SyncToAsync.single_thread_executor.submit(setattr, _opened, "is_of_async", True)


def check_async(*, is_alone: bool) -> None:
    """Before an async task: what it asks of the database comes after this, in the same thread, so nobody waits for it.

    Parameters:
        is_alone: no other async task runs that may be reading from a connection which is merely old.
    """
    if _async_has_opened.is_set():
        SyncToAsync.single_thread_executor.submit(_close_old if is_alone else _close_broken)


def _close_broken() -> None:
    for connection in _opened.connections:
        old_from, connection.close_at = connection.close_at, None
        connection.close_if_unusable_or_obsolete()
        connection.close_at = old_from
