"""Database connections of worker threads: kept between tasks, checked after errors, never leaked."""

from __future__ import annotations

from typing import Any

from asgiref.sync import SyncToAsync
from django.db import connections
from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware


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

    def before_worker_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        connections.close_all()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Async tasks reach databases (`asend`) through a thread of asgiref's, which hears of no shutdown."""
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()

    def before_consumer_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        connections.close_all()


def _close_old() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
