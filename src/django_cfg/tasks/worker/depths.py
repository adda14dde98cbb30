"""Depths and ages of queues for Prometheus, asked of the broker at a scrape, at most once in two seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import QueueStats
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.records import stats as records
from django_cfg.tasks.worker import roster

logger = get_logger(__name__)
FRESH_S = 2.0
#: Queues beyond the declared ones that get a series of their own; names come from messages, so anybody makes them.
MOST_UNDECLARED = 100
OTHERS = "(others)"
STATES = ("scheduled", "running", "retrying", "dead")


class Depths:
    """A collector for a registry of prometheus_client. A broker that does not answer is `dramatiq_broker_up 0`."""

    def __init__(self, broker: EngineBroker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._found: list[Any] = []
        self._until = 0.0

    def describe(self) -> list[Any]:
        """Nothing ahead: registering must not ask the broker."""
        return []

    def collect(self) -> list[Any]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._look()
                self._until = time.monotonic() + FRESH_S
            return self._found

    def _look(self) -> list[Any]:
        try:
            return [*self._queues(), *_kept(_of_workers), *_kept(_of_records)]
        finally:
            connections.close_all()  # every scrape has a thread of its own

    def _queues(self) -> list[Any]:
        try:
            stats = bounded(self._broker.queue_stats(), frozenset(self._broker.queues))
        except (BrokerError, DatabaseError, InterfaceError) as error:
            logger.warning("Queue depths are missing in this scrape: %s", error)
            return [_up(0)]
        return [_up(1), *_of_queues(stats)]


def _kept(ask: Callable[[], Any]) -> list[Any]:
    """What the database of the records says, which may be away while the broker answers."""
    try:
        return [ask()]
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Workers or dropped records are missing in this scrape: %s", error)
        return []


def bounded(found: Iterable[QueueStats], declared: frozenset[str]) -> list[QueueStats]:
    """Declared queues, some others, and the rest as one."""
    stats = list(found)
    known = [one for one in stats if one.queue in declared]
    strange = [one for one in stats if one.queue not in declared]
    kept, rest = strange[:MOST_UNDECLARED], strange[MOST_UNDECLARED:]
    return [*known, *kept, *([_together(rest)] if rest else [])]


def _together(rest: list[QueueStats]) -> QueueStats:
    ages = [stats.oldest_pending_age_s for stats in rest if stats.oldest_pending_age_s is not None]
    return QueueStats(
        OTHERS,
        pending=sum(stats.pending for stats in rest),
        scheduled=sum(stats.scheduled for stats in rest),
        running=_total([stats.running for stats in rest]),
        retrying=_total([stats.retrying for stats in rest]),
        dead=sum(stats.dead for stats in rest),
        oldest_pending_age_s=max(ages, default=None),
    )


def _total(counts: list[int | None]) -> int | None:
    """None where the broker cannot tell."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _up(value: int) -> Any:
    gauge = _gauge("dramatiq_broker_up", "Whether the broker answered")
    gauge.add_metric([], value)
    return gauge


def _of_queues(found: Iterable[QueueStats]) -> Iterator[Any]:
    depth = _gauge("dramatiq_queue_depth", "Tasks that could run now", "queue_name")
    age = _gauge("dramatiq_queue_oldest_age_seconds", "Wait of the oldest task that could run", "queue_name")
    others = _gauge("dramatiq_queue_messages", "Tasks in other states", "queue_name", "state")
    for stats in found:
        depth.add_metric([stats.queue], stats.pending)
        if stats.oldest_pending_age_s is not None or not stats.pending:
            age.add_metric([stats.queue], stats.oldest_pending_age_s or 0)
        for state in STATES:
            if (count := getattr(stats, state)) is not None:
                others.add_metric([stats.queue, state], count)
    yield from (depth, age, others)


def _of_workers() -> Any:
    gauge = _gauge("dramatiq_workers", "Worker processes", "status")
    counts = Counter(worker.status for worker in roster.workers())
    for status in roster.Status:
        gauge.add_metric([status.value], counts[status])
    return gauge


def _of_records() -> Any:
    from prometheus_client.core import CounterMetricFamily  # the extra `prometheus`

    dropped = records.dropped(records_alias())
    return CounterMetricFamily("dramatiq_records_dropped", "Records that were never written", value=dropped)


def _gauge(name: str, text: str, *labels: str) -> Any:
    from prometheus_client.core import GaugeMetricFamily  # the extra `prometheus`

    return GaugeMetricFamily(name, text, labels=labels)
