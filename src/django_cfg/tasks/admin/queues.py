"""Queues: what waits and runs now, by the broker's own count."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.tasks import actions, queries
from django_cfg.tasks.admin.pages import Act, Cell, Detail, Listing, Row, TaskPages, cells, list_url
from django_cfg.tasks.audit import Operator
from django_cfg.tasks.brokers.contract import QueueStats, shown
from django_cfg.units import humane, s_to_ms

HEADER = ("Queue", "Paused", "Pending", "Oldest waits", "Running", "Scheduled", "Retrying", "Dead")


class QueuePages(TaskPages):
    has_details = False

    def listing(self, query: str, after: str) -> Listing:
        paused = queries.paused_queues()
        return Listing(HEADER, [queue_row(stats, stats.queue in paused) for stats in queries.queue_stats()])

    def detail(self, key: str) -> Detail | None:
        return None

    def acts(self) -> dict[str, Act]:
        return {
            "pause": Act("Pause", "pause_queue", _pause),
            "resume": Act("Resume", "pause_queue", _resume),
        }


def queue_row(stats: QueueStats, is_paused: bool) -> Row:
    age = stats.oldest_pending_age_s
    return Row(
        stats.queue,
        cells(
            Cell(stats.queue, list_url("taskrecord", f'"queue:{stats.queue}"')),
            *(Cell("paused" if is_paused else "", tone="bad"), stats.pending),
            *("-" if age is None else humane(s_to_ms(age)), shown(stats.running), stats.scheduled),
            shown(stats.retrying),
            Cell(str(stats.dead), list_url("deadletter", f'"queue:{stats.queue}"') if stats.dead else ""),
        ),
    )


def _pause(keys: Sequence[str], by: Operator) -> str:
    for queue in keys:
        actions.pause(queue, by=by)
    return f"Paused: {', '.join(keys)}."


def _resume(keys: Sequence[str], by: Operator) -> str:
    for queue in keys:
        actions.resume(queue, by=by)
    return f"Resumed: {', '.join(keys)}."
