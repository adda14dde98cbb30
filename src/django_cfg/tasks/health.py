"""Whether the tasks of this project are well: facts are gathered at the edge, the verdict is pure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from django.db import DatabaseError, InterfaceError

from django_cfg.errors import BrokerError
from django_cfg.tasks import conf, queries
from django_cfg.tasks.brokers.contract import QueueStats
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.worker.roster import WorkerStats
from django_cfg.units import counted, humane, s_to_ms

#: How long a report is good for: probes and curious clients must not become a load of their own.
FRESH_S = 1.0
Row = TypeVar("Row")
AWAY = (BrokerError, DatabaseError, InterfaceError)


class Status(StrEnum):
    """One word for a probe."""

    DISABLED = "disabled"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. None where nobody answered; the error says who."""

    queues: tuple[QueueStats, ...] | None
    workers: tuple[WorkerStats, ...] | None
    latency_ms: float = 0.0
    broker_error: str = ""
    workers_error: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why health is not good, and how bad that is."""

    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict and what it stands on."""

    status: Status
    reasons: tuple[Reason, ...]
    facts: Facts


def report() -> Report:
    """The health of this moment; asks the broker and the workers' registry. Never raises because of them."""
    settings = conf.read()
    return judge(gather(), settings)


def gather() -> Facts:
    """Ask everybody, and note who does not answer."""
    began = time.perf_counter()
    queues, broker_error = _answer(queries.queue_stats)
    latency_ms = (time.perf_counter() - began) * 1000
    workers, workers_error = _answer(queries.workers)
    return Facts(queues, workers, round(latency_ms, 3), broker_error, workers_error)


def _answer(ask: Callable[[], list[Row]]) -> tuple[tuple[Row, ...] | None, str]:
    try:
        return tuple(ask()), ""
    except AWAY as error:
        return None, str(error)


def judge(facts: Facts, settings: TaskSettings) -> Report:
    """The verdict: the worst of all reasons."""
    if not settings.enabled:
        return Report(Status.DISABLED, (), facts)
    reasons = tuple(_reasons(facts, settings))
    worst = max((reason.status for reason in reasons), key=list(Status).index, default=Status.HEALTHY)
    return Report(worst, reasons, facts)


def _reasons(facts: Facts, settings: TaskSettings) -> Iterator[Reason]:
    if facts.queues is None:
        yield Reason(Status.UNHEALTHY, f"the broker does not answer: {facts.broker_error}")
    if facts.workers is None:
        yield Reason(Status.DEGRADED, f"the registry of workers does not answer: {facts.workers_error}")
    yield from _of_workers(facts, settings)
    for stats in facts.queues or ():
        yield from _of_queue(stats, settings)


def _of_workers(facts: Facts, settings: TaskSettings) -> Iterator[Reason]:
    if facts.workers is None:
        return
    alive = [worker for worker in facts.workers if worker.is_alive]
    if len(alive) < settings.health_min_workers:
        yield Reason(
            Status.UNHEALTHY,
            f"{counted(len(alive), 'worker lives', 'workers live')}, expected at least {settings.health_min_workers}",
        )
    if lost := len(facts.workers) - len(alive):
        yield Reason(Status.DEGRADED, counted(lost, "worker is lost", "workers are lost"))
    served = {queue for worker in alive for queue in worker.queues}
    for stats in facts.queues or ():
        if stats.pending and alive and stats.queue not in served:
            yield Reason(Status.DEGRADED, f"queue {stats.queue}: {_waiting(stats.pending)} and no worker serves it")


def _of_queue(stats: QueueStats, settings: TaskSettings) -> Iterator[Reason]:
    limit_s, age_s = settings.health_max_wait_s, stats.oldest_pending_age_s
    if limit_s is not None and age_s is not None and age_s > limit_s:
        waited, limit = humane(s_to_ms(age_s)), humane(s_to_ms(limit_s))
        yield Reason(Status.DEGRADED, f"queue {stats.queue}: the oldest task waits for {waited}, above {limit}")
    yield from _above(stats.queue, _waiting(stats.pending), stats.pending, settings.health_max_pending)
    yield from _above(stats.queue, counted(stats.dead, "dead letter"), stats.dead, settings.health_max_dead)


def _waiting(number: int) -> str:
    return counted(number, "task waits", "tasks wait")


def _above(queue: str, what: str, number: int, limit: int | None) -> Iterator[Reason]:
    if limit is not None and number > limit:
        yield Reason(Status.DEGRADED, f"queue {queue}: {what}, above {limit}")


class Recent:
    """The latest report, at most a second old; many who ask at once cost one look."""

    def __init__(self, look: Callable[[], Report] = report) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._until = 0.0

    def get(self) -> Report:
        with self._lock:
            if self._report is None or time.monotonic() >= self._until:
                self._report = self._look()
                self._until = time.monotonic() + FRESH_S
            return self._report
