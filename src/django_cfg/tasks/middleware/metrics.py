"""Prometheus metrics of tasks: counts, durations and waits, over all processes of one `rundramatiq`.

Off costs nothing: without `prometheus_enabled` this middleware is not in the stack and the client is not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.events import OutcomeRefused, TaskSettled, outcome_refused, task_settled
from django_cfg.tasks.lifecycle import Kind

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800)
STATUS = {
    Kind.DONE: "completed",
    Kind.RETRY: "retrying",
    Kind.DEAD: "dead_letter",
    Kind.RELEASED: "given_back",
}
#: What anybody can write into a message is no label: names that nobody declared share this one.
UNDECLARED = "(undeclared)"


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
        self._unsubscribe: list[Callable[[], None]] = []
        self._workers: set[int] = set()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Metrics are made here and not before: their files belong to one process, so not to a parent."""
        self._workers.add(id(worker))
        if not self._unsubscribe:
            settled, refused = self._counting(broker)
            self._unsubscribe = [task_settled.subscribe(settled), outcome_refused.subscribe(refused)]

    def _counting(self, broker: Broker) -> tuple[Callable[[TaskSettled], None], Callable[[OutcomeRefused], None]]:
        total = self._counter("dramatiq_tasks", "Ended attempts by how they ended", ("task_name", "status"))
        run = self._histogram("dramatiq_task_duration_seconds", "Run time of attempts", "task_name")
        wait = self._histogram("dramatiq_task_wait_seconds", "Time from runnable to started", "queue_name")

        def settled(event: TaskSettled) -> None:
            task = event.task if event.task in broker.actors else UNDECLARED
            total.labels(task, STATUS[event.kind]).inc()
            if event.started and event.kind is not Kind.RELEASED:
                run.labels(task).observe(event.run_ms / 1000)
                queue = event.queue if event.queue in broker.queues else UNDECLARED
                wait.labels(queue).observe(event.wait_ms / 1000)

        def refused(event: OutcomeRefused) -> None:
            task = event.task if event.task in broker.actors else UNDECLARED
            total.labels(task, "lease_lost").inc()

        return settled, refused

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Any:
        return self._client.Counter(name, text, labels, registry=None)

    def _histogram(self, name: str, text: str, label: str) -> Any:
        return self._client.Histogram(name, text, (label,), buckets=BUCKETS, registry=None)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._workers.discard(id(worker))
        if not self._workers:
            for stop in self._unsubscribe:
                stop()
            self._unsubscribe = []
