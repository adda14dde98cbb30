"""Database connections of worker threads: kept between tasks, checked after errors, never leaked."""

from __future__ import annotations

import threading
from concurrent.futures import wait
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
        """`CONN_MAX_AGE=0` suits web requests; a worker would reconnect for every task."""
        for alias in connections:
            settings = connections.settings[alias]
            if not settings.get("OPTIONS", {}).get("pool"):
                settings["CONN_MAX_AGE"] = self.max_age_s
                settings["CONN_HEALTH_CHECKS"] = True

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


class _Opened(threading.local):
    """Whether this thread ever opened a connection; asking Django for its connections costs more than most hooks."""

    any = False


_opened = _Opened()


def _note_opened(**_: Any) -> None:
    _opened.any = True


connection_created.connect(_note_opened, dispatch_uid="django_cfg.tasks.middleware.connections")


def _close_old() -> None:
    if not _opened.any:
        return
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
