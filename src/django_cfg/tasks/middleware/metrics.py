"""Prometheus metrics of tasks: counts and durations by task and queue, over all processes of a host's workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.events import TaskSettled, task_settled

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800)


class Metrics(Middleware):
    """Counts what settles. Needs the extra `prometheus`; `rundramatiq` serves the numbers."""

    def __init__(self) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise ConfigurationError(
                "prometheus_enabled=True needs prometheus-client: python -m pip install 'django-cfg-tasks[prometheus]'"
            ) from error
        self._client: Any = prometheus_client
        self._unsubscribe: Callable[[], None] | None = None
        self._workers: set[int] = set()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Metrics are made here and not before: their files belong to one process, so not to a parent."""
        self._workers.add(id(worker))
        if self._unsubscribe is None:
            self._unsubscribe = task_settled.subscribe(self._counting())

    def _counting(self) -> Callable[[TaskSettled], None]:
        labels = ("task", "queue")
        settled = self._client.Counter(
            "django_cfg_tasks_settled", "Ended claims by kind", (*labels, "kind"), registry=None
        )
        run = self._client.Histogram(
            "django_cfg_tasks_run_seconds", "Run time of tasks", labels, buckets=BUCKETS, registry=None
        )
        wait = self._client.Histogram(
            "django_cfg_tasks_wait_seconds",
            "Time from runnable to started",
            labels,
            buckets=BUCKETS,
            registry=None,
        )

        def note(event: TaskSettled) -> None:
            settled.labels(event.task, event.queue, event.kind.value).inc()
            run.labels(event.task, event.queue).observe(event.run_ms / 1000)
            wait.labels(event.task, event.queue).observe(event.wait_ms / 1000)

        return note

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._workers.discard(id(worker))
        if self._unsubscribe is not None and not self._workers:
            self._unsubscribe()
            self._unsubscribe = None
