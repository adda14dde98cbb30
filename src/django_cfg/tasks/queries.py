"""READ: what queues and tasks look like now. Frozen dataclasses; no writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import dramatiq
from django.db.models import Count, Max, Q, Sum

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo, QueueStats
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import TaskRecord

SAMPLE = 10_000


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What the records say about one task on one queue. Times in milliseconds; medians of the latest tasks."""

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


def broker() -> EngineBroker:
    """The broker of this project."""
    return cast("EngineBroker", dramatiq.get_broker())


def queue_stats() -> list[QueueStats]:
    """Every queue with its counts, by name."""
    return broker().queue_stats()


def dead_letters(limit: int = 20) -> list[DeadLetterInfo]:
    """The newest dead letters of all queues."""
    return broker().dead_letters(DeadFilter(everything=True), limit)


def count_failed(only: DeadFilter) -> int:
    """How many dead letters a filter means."""
    return broker().count_dead(only)


def task_summary() -> list[TaskSummary]:
    """One row a task and queue, from the records."""
    rows = (
        TaskRecord.objects.values("task", "queue")
        .order_by("queue", "task")
        .annotate(
            attempts=Sum("attempts"),
            completed=Count("message_id", filter=Q(state=State.COMPLETED.value)),
            retried=Sum("retries"),
            dead=Count("message_id", filter=Q(state=State.DEAD_LETTER.value)),
            wait_ms_max=Max("wait_ms"),
            run_ms_max=Max("run_ms"),
        )
    )
    return [
        TaskSummary(
            wait_ms_p50=_median(row["task"], row["queue"], "wait_ms"),
            run_ms_p50=_median(row["task"], row["queue"], "run_ms"),
            **row,
        )
        for row in rows
    ]


def _median(task: str, queue: str, field: str) -> float:
    newest = TaskRecord.objects.filter(task=task, queue=queue).order_by("-enqueued_at")[:SAMPLE]
    values = sorted(newest.values_list(field, flat=True))
    return values[len(values) // 2] if values else 0.0
