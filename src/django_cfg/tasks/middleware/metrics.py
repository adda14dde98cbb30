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
    """Counts what settles. Needs the extra `prometheus`.

    With `PROMETHEUS_MULTIPROC_DIR` set, the numbers lie in files there, for `prometheus_client.multiprocess`.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise ConfigurationError(
                "prometheus_enabled=True needs prometheus-client: python -m pip install 'django-cfg-tasks[prometheus]'"
            ) from error
        self._client: Any = prometheus_client
        self._unsubscribe: Callable[[], None] | None = None

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Metrics are made here and not before: their files belong to one process, so not to a parent."""
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

        self._unsubscribe = task_settled.subscribe(note)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
