"""Who works now: the announced workers, told apart as active, idle and lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db.models.functions import Now

from django_cfg.tasks.brokers.contract import ProcessIdentity
from django_cfg.tasks.brokers.process import identity, is_gone
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.models import Worker

#: A worker that has been silent for longer is lost; its host may be gone.
LOST_AFTER_S = 30.0
MOST_SHOWN = 1000


class Status(StrEnum):
    """How a worker is. Idle and lost are far apart: the one waits for work, the other is gone."""

    ACTIVE = "active"
    IDLE = "idle"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task on a thread of a worker; `running_s` in seconds."""

    thread: int
    task: str
    message_id: str
    running_s: float


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker process. Ages in seconds; `rss_bytes` is None where the system does not say."""

    host: str
    pid: int
    supervisor_pid: int
    status: Status
    version: str
    queues: tuple[str, ...]
    threads: int
    running: tuple[RunningTask, ...]
    rss_bytes: int | None
    uptime_s: float
    heartbeat_age_s: float
    is_local: bool

    @property
    def is_alive(self) -> bool:
        return self.status is not Status.LOST


def workers() -> list[WorkerStats]:
    """Every announced worker, by host and pid; lost ones stay in sight for ten minutes."""
    rows = Worker.objects.using(records_alias()).annotate(now=Now()).order_by("host", "pid", "id")[:MOST_SHOWN]
    mine = identity()
    return [_described(row, mine) for row in rows]


def _described(row: Any, mine: ProcessIdentity) -> WorkerStats:
    silent_s = max(0.0, (row.now - row.heartbeat_at) / timedelta(seconds=1))
    process = ProcessIdentity(row.host_id, row.host, row.pid, row.process_started)
    status = _status(silent_s, is_gone(process, mine), bool(row.running))
    return WorkerStats(
        host=row.host,
        pid=row.pid,
        supervisor_pid=row.supervisor_pid,
        status=status,
        version=row.version,
        queues=tuple(row.queues),
        threads=row.threads,
        running=tuple(_running(row.running, silent_s)) if status is not Status.LOST else (),
        rss_bytes=row.rss_bytes,
        uptime_s=round(max(0.0, (row.now - row.started_at) / timedelta(seconds=1)), 3),
        heartbeat_age_s=round(silent_s, 3),
        is_local=row.host_id == mine.host_id,
    )


def _status(silent_s: float, is_dead: bool, is_busy: bool) -> Status:
    if is_dead or silent_s > LOST_AFTER_S:
        return Status.LOST
    return Status.ACTIVE if is_busy else Status.IDLE


def _running(tasks: Iterable[dict[str, Any]], silent_s: float) -> Iterable[RunningTask]:
    for task in tasks:
        yield RunningTask(task["thread"], task["task"], task["message_id"], round(task["for_s"] + silent_s, 3))
