"""Workers: which processes there are, how they are, and what runs on their threads."""

from __future__ import annotations

from django_cfg.tasks import queries
from django_cfg.tasks.admin.pages import Cell, Detail, Listing, Row, TaskPages, cells, detail_url
from django_cfg.tasks.worker.roster import RunningTask, Status, WorkerStats
from django_cfg.units import humane, s_to_ms


class WorkerPages(TaskPages):
    has_details = False

    def listing(self, query: str, after: str) -> Listing:
        header = ("Worker", "Status", "Runs", "Busy", "Memory", "Up", "Seen", "Queues", "Version")
        return Listing(header, [_row(worker) for worker in queries.workers()])

    def detail(self, key: str) -> Detail | None:
        return None


def _row(worker: WorkerStats) -> Row:
    memory = "-" if worker.rss_bytes is None else f"{worker.rss_bytes / 2**20:.0f} MiB"
    return Row(
        name_of(worker),
        cells(
            *(name_of(worker), Cell(worker.status.value, tone="bad" if worker.status is Status.LOST else "")),
            ", ".join(f"{task.task} for {_span(task.running_s)}" for task in worker.running),
            *(f"{len(worker.running)} of {worker.threads}", memory, _span(worker.uptime_s)),
            *(f"{_span(worker.heartbeat_age_s)} ago", ", ".join(worker.queues), worker.version),
        ),
    )


def running_row(worker: WorkerStats, task: RunningTask) -> Row:
    """A task that runs now, with a link to what is recorded of it."""
    link = Cell(task.task, detail_url("taskrecord", task.message_id))
    return Row(task.message_id, cells(link, _span(task.running_s), name_of(worker), task.message_id))


def name_of(worker: WorkerStats) -> str:
    return f"{worker.host}:{worker.pid}"


def _span(seconds: float) -> str:
    return humane(s_to_ms(seconds))
