"""Is it healthy, what failed in the last hour, what runs: the first page of somebody who was called.

Nothing here reads records: queues by the broker's count, workers by their registry, tasks by rollups, faults along
an index. What a user may not see on its own page is not shown here either, and who does not answer is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone

from django_cfg.tasks import health, queries
from django_cfg.tasks.admin.failures import HEADER as FAULT_HEADER
from django_cfg.tasks.admin.failures import fault_row
from django_cfg.tasks.admin.pages import APP, Cell, Detail, Listing, Row, TaskPages, cells, list_url, moment
from django_cfg.tasks.admin.queues import HEADER as QUEUE_HEADER
from django_cfg.tasks.admin.queues import queue_row
from django_cfg.tasks.admin.workers import running_row
from django_cfg.tasks.brokers.contract import QueueStats, shown
from django_cfg.tasks.health import AWAY, Facts, Report, Status
from django_cfg.tasks.models import Grain
from django_cfg.tasks.records.policy import NotRecorded
from django_cfg.tasks.records.stats import TaskStats
from django_cfg.tasks.worker.roster import WorkerStats
from django_cfg.units import humane, s_to_ms

SPAN = timedelta(hours=1)
MOST = 10
VERDICTS = {
    Status.DISABLED: "Tasks are switched off",
    Status.HEALTHY: "Healthy",
    Status.DEGRADED: "Degraded: something needs a look",
    Status.UNHEALTHY: "Unhealthy: tasks do not run as they should",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page, with the page that has the rest."""

    title: str
    listing: Listing
    empty: str
    href: str
    more: str


class OverviewPages(TaskPages):
    has_details = False

    def listing(self, query: str, after: str) -> Listing:
        return Listing((), ())

    def detail(self, key: str) -> Detail | None:
        return None

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        report, since = health.report(), timezone.now() - SPAN
        may = [what for what in SECTIONS if request.user.has_perm(f"{APP}.view_{what}")]
        context = {
            "title": "Overview",
            "verdict": VERDICTS[report.status],
            "is_well": report.status in (Status.HEALTHY, Status.DISABLED),
            "reasons": [reason.text for reason in report.reasons],
            "seen": moment(timezone.now()),
            "numbers": [number for what in may for number in NUMBERS.get(what, _none)(report.facts)],
            "sections": [section for what in may if (section := SECTIONS[what](report, since))],
        }
        return self._render(request, "overview", context)


def _none(facts: Facts) -> list[tuple[str, Cell]]:
    return []


def _queue_numbers(facts: Facts) -> list[tuple[str, Cell]]:
    if facts.queues is None:
        return []
    ages = [stats.oldest_pending_age_s for stats in facts.queues if stats.oldest_pending_age_s is not None]
    dead = sum(stats.dead for stats in facts.queues)
    return [
        ("Waiting", Cell(str(sum(stats.pending for stats in facts.queues)))),
        ("Oldest waits", Cell(humane(s_to_ms(max(ages))) if ages else "-")),
        ("Running", Cell(_sum([stats.running for stats in facts.queues]))),
        ("Scheduled", Cell(str(sum(stats.scheduled for stats in facts.queues)))),
        ("Retrying", Cell(_sum([stats.retrying for stats in facts.queues]))),
        ("Dead letters", Cell(str(dead), list_url("deadletter") if dead else "", "bad" if dead else "")),
    ]


def _sum(counts: Sequence[int | None]) -> str:
    """A dash where the broker cannot tell."""
    known = [count for count in counts if count is not None]
    return shown(sum(known) if len(known) == len(counts) else None)


def _worker_numbers(facts: Facts) -> list[tuple[str, Cell]]:
    if facts.workers is None:
        return []
    lost = sum(not worker.is_alive for worker in facts.workers)
    alive = Cell(str(len(facts.workers) - lost), list_url("worker"))
    return [("Workers", alive), *([("Lost workers", Cell(str(lost), list_url("worker"), "bad"))] if lost else [])]


def _queues(report: Report, since: datetime) -> Section:
    found = sorted(report.facts.queues or (), key=_urgency)
    note = f"The broker does not answer: {report.facts.broker_error}" if report.facts.queues is None else ""
    paused = queries.paused_queues() if found else frozenset()
    rows = [queue_row(stats, stats.queue in paused) for stats in found[:MOST]]
    return Section("Queues", Listing(QUEUE_HEADER, rows, note=note), "No queue yet.", list_url("queue"), "All queues")


def _urgency(stats: QueueStats) -> tuple[float, int, str]:
    """Whose oldest task waits longest comes first."""
    return -(stats.oldest_pending_age_s or 0), -stats.dead, stats.queue


def _running(report: Report, since: datetime) -> Section:
    found = [(worker, task) for worker in report.facts.workers or () for task in worker.running]
    found.sort(key=lambda pair: -pair[1].running_s)
    note = f"The registry does not answer: {report.facts.workers_error}" if report.facts.workers is None else ""
    listing = Listing(("Task", "For", "Worker", "Id"), [running_row(*pair) for pair in found[:MOST]], note=note)
    return Section(
        "Runs now, the longest first", listing, _idle(report.facts.workers), list_url("worker"), "All workers"
    )


def _idle(workers: Sequence[WorkerStats] | None) -> str:
    alive = [worker for worker in workers or () if worker.is_alive]
    return "Nothing: all workers are idle." if alive else "No worker lives. Start some: python manage.py rundramatiq"


def _faults(report: Report, since: datetime) -> Section:
    listing = _asked(FAULT_HEADER, lambda: [fault_row(group) for group in queries.failures(MOST, since)])
    return Section("Failures of the last hour", listing, "None.", list_url("errorgroup"), "All failures")


def _tasks(report: Report, since: datetime) -> Section:
    """By whole hours, this one and the one before: minutes would be sixty times as many rows."""
    header = ("Task", "Queue", "Attempts", "Retried", "Dead", "Waited, p95", "Ran, p50", "Ran, p95")
    hour = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    listing = _asked(header, lambda: [_task_row(stats) for stats in _worst(queries.task_stats(hour, grain=Grain.HOUR))])
    return Section(f"Tasks since {moment(hour)}", listing, "None ran.", list_url("taskrecord"), "All records")


def _worst(found: list[TaskStats]) -> list[TaskStats]:
    """Those that died most, then those that took most of the workers' time."""
    return sorted(found, key=lambda stats: (-stats.dead, -stats.retried, -stats.run_ms_sum))[:MOST]


def _task_row(stats: TaskStats) -> Row:
    dead = Cell(str(stats.dead), _link(stats, "state:failed") if stats.dead else "", "bad" if stats.dead else "")
    return Row(
        f"{stats.queue} {stats.task}",
        cells(
            *(Cell(stats.task, _link(stats, "since:1h")), stats.queue, stats.attempts, stats.retried, dead),
            *(humane(stats.wait_ms_p95), humane(stats.run_ms_p50), humane(stats.run_ms_p95)),
        ),
    )


def _link(stats: TaskStats, words: str) -> str:
    return list_url("taskrecord", f'"task:{stats.task}" {words}')


def _asked(header: Sequence[str], ask: Callable[[], Sequence[Row]]) -> Listing:
    try:
        return Listing(header, ask())
    except NotRecorded as error:
        return Listing(header, (), note=str(error))
    except AWAY as error:
        return Listing(header, (), note=f"The database does not answer: {error}")


#: By what a user may see.
SECTIONS: dict[str, Callable[[Report, datetime], Section]] = {
    "queue": _queues,
    "worker": _running,
    "errorgroup": _faults,
    "taskrecord": _tasks,
}
NUMBERS: dict[str, Callable[[Facts], list[tuple[str, Cell]]]] = {"queue": _queue_numbers, "worker": _worker_numbers}
