"""What rollups say: counts, percentiles, series. No record is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from django.db.models import QuerySet

from django_cfg.tasks.models import EngineState, Grain, Rollup
from django_cfg.tasks.records.histogram import percentile
from django_cfg.tasks.records.rollups import Tally, starts, tally_of

DROPPED = "records_dropped"
#: The longest span that is read by minutes, and by hours.
BY_MINUTE, BY_HOUR = timedelta(hours=6), timedelta(days=14)


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """All that is known of one task on one queue. Times in milliseconds; medians within a tenth."""

    task: str
    queue: str
    attempts: int
    completed: int
    retried: int
    dead: int
    wait_ms_p50: float
    wait_ms_max: float
    run_ms_p50: float
    run_ms_max: float


@dataclass(frozen=True, slots=True)
class TaskStats:
    """One task on one queue in a span of time. Times in milliseconds; percentiles within a tenth.

    `run_ms_sum` is the time that all its attempts together ran: the task's share of the work.
    """

    task: str
    queue: str
    attempts: int
    completed: int
    retried: int
    dead: int
    wait_ms_p50: float
    wait_ms_p95: float
    wait_ms_p99: float
    run_ms_p50: float
    run_ms_p95: float
    run_ms_p99: float
    run_ms_sum: float


@dataclass(frozen=True, slots=True)
class Span:
    """One point of a series."""

    starts_at: datetime
    attempts: int
    completed: int
    retried: int
    dead: int
    wait_ms_p95: float
    run_ms_p95: float


_by_task = attrgetter("queue", "task")


def summary(alias: str) -> list[TaskSummary]:
    days = Rollup.objects.using(alias).filter(grain=Grain.DAY).order_by("queue", "task")
    return [_summary(*name, tally_of(rows)) for name, rows in groupby(days, _by_task)]


def _summary(queue: str, task: str, tally: Tally) -> TaskSummary:
    return TaskSummary(
        *(task, queue, tally.attempts, tally.completed, tally.retried, tally.dead),
        *(min(percentile(tally.waits, 0.5), tally.wait_ms_max), tally.wait_ms_max),
        *(min(percentile(tally.runs, 0.5), tally.run_ms_max), tally.run_ms_max),
    )


def by_task(
    alias: str, since: datetime, until: datetime | None, *, task: str, queue: str, grain: Grain | None = None
) -> list[TaskStats]:
    rows = _chosen(alias, since, until, task, queue, grain).order_by("queue", "task")
    return [_stats(*name, tally_of(found)) for name, found in groupby(rows, _by_task)]


def _stats(queue: str, task: str, tally: Tally) -> TaskStats:
    return TaskStats(
        *(task, queue, tally.attempts, tally.completed, tally.retried, tally.dead),
        *(percentile(tally.waits, 0.5), percentile(tally.waits, 0.95), percentile(tally.waits, 0.99)),
        *(percentile(tally.runs, 0.5), percentile(tally.runs, 0.95), percentile(tally.runs, 0.99)),
        tally.run_ms_sum,
    )


def series(alias: str, since: datetime, until: datetime | None, *, task: str, queue: str) -> list[Span]:
    rows = _chosen(alias, since, until, task, queue).order_by("starts_at")
    return [_span(start, found) for start, found in groupby(rows, attrgetter("starts_at"))]


def _span(start: datetime, rows: Iterable[Rollup]) -> Span:
    tally = tally_of(rows)
    return Span(
        *(start, tally.attempts, tally.completed, tally.retried, tally.dead),
        *(percentile(tally.waits, 0.95), percentile(tally.runs, 0.95)),
    )


def _chosen(
    alias: str, since: datetime, until: datetime | None, task: str, queue: str, grain: Grain | None = None
) -> QuerySet[Rollup]:
    until = until or datetime.now(UTC)
    grain = grain or grain_of(until - since)
    start = dict(starts(since.astimezone(UTC)))[grain.value]
    rows = Rollup.objects.using(alias).filter(grain=grain, starts_at__gte=start, starts_at__lt=until)
    rows = rows.filter(task=task) if task else rows
    return rows.filter(queue=queue) if queue else rows


def grain_of(span: timedelta) -> Grain:
    """The finest grain that keeps the number of rows small."""
    if span <= BY_MINUTE:
        return Grain.MINUTE
    return Grain.HOUR if span <= BY_HOUR else Grain.DAY


def dropped(alias: str) -> int:
    found = EngineState.objects.using(alias).filter(name=DROPPED).values_list("value", flat=True).first()
    return found or 0
