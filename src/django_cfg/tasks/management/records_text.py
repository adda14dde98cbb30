"""Records as lines for people and as JSON documents with stable keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django_cfg.tasks.models import Attempt, ErrorGroup, OperatorAction, TaskRecord
from django_cfg.tasks.records.reading import Page, TaskDetail
from django_cfg.tasks.records.stats import TaskStats
from django_cfg.units import humane

RECORD = (
    *("message_id", "task", "queue", "state", "attempts", "retries", "wait_ms", "run_ms"),
    *("enqueued_at", "started_at", "finished_at", "updated_at", "worker", "arguments", "result"),
    *("reason", "error_type", "error", "fingerprint", "tags", "parent_id", "retry_of"),
    *("progress_done", "progress_total", "progress_note", "log"),
)
ATTEMPT = (
    *("generation", "fence", "ended_as", "error_type", "error", "traceback", "fingerprint", "log"),
    *("wait_ms", "run_ms", "ended_at", "worker"),
)
GROUP = (
    *("fingerprint", "task", "queue", "error_type", "place", "error", "seen"),
    *("first_seen", "last_seen", "newest_message_id"),
)
ACTION = ("at", "actor", "source", "action", "target", "affected", "outcome", "detail")


def document(**content: Any) -> str:
    """One JSON document; moments are ISO 8601 in UTC."""
    return json.dumps({"schema": 1, **content}, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a document")


def row(model: TaskRecord | Attempt | ErrorGroup | OperatorAction, names: Sequence[str]) -> dict[str, Any]:
    found = {name: getattr(model, name) for name in names}
    if "tags" in found:
        found["tags"] = [tag for tag in found["tags"].split(",") if tag]
    return found


def page_document(page: Page) -> str:
    return document(tasks=[row(r, RECORD) for r in page.records], next=page.next, is_partial=page.is_partial)


def page_text(page: Page) -> str:
    lines = table(
        ("id", "state", "task", "queue", "attempts", "waited", "ran", "changed", "error"), map(_line, page.records)
    )
    if page.next:
        far = "No more within the newest records searched" if page.is_partial else "More"
        lines.append(f"{far}: --after {page.next}")
    return "\n".join(lines) if page.records or page.next else "No recorded tasks match."


def _line(record: TaskRecord) -> tuple[str, ...]:
    return (
        *(record.message_id, record.state, record.task, record.queue, str(record.attempts)),
        *(humane(record.wait_ms), humane(record.run_ms), moment(record.updated_at)),
        f"{record.error_type}: {record.error}"[:80] if record.error_type else "",
    )


def detail_document(detail: TaskDetail) -> str:
    record = row(detail.record, RECORD) if detail.record is not None else None
    return document(task=record, attempts=[row(attempt, ATTEMPT) for attempt in detail.attempts])


def detail_text(detail: TaskDetail) -> str:
    record = detail.record
    lines = [] if record is None else [f"{name:15} {_shown(value)}" for name, value in row(record, RECORD).items()]
    for attempt in detail.attempts:
        lines += ["", f"Attempt {attempt.fence}, {moment(attempt.ended_at)}, {attempt.ended_as}, on {attempt.worker}"]
        lines.append(attempt.traceback.rstrip() or f"{attempt.error_type}: {attempt.error}")
    return "\n".join(map(_readable, lines))


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("\n", "\n" + 16 * " ") if value not in (None, "") else "-"


def groups_text(groups: Sequence[ErrorGroup]) -> str:
    rows = (
        (g.fingerprint, str(g.seen), moment(g.last_seen), g.task, f"{g.error_type} in {g.place}", g.error[:60])
        for g in groups
    )
    return "\n".join(table(("group", "seen", "last", "task", "error", "text"), rows)) if groups else "No failures."


def stats_text(stats: Sequence[TaskStats]) -> str:
    header = ("task", "queue", "runs", "retried", "dead", "wait p50", "p95", "p99", "run p50", "p95", "p99")
    return "\n".join(table(header, map(_stats_line, stats))) if stats else "Nothing ran in that time."


def _stats_line(found: TaskStats) -> tuple[str, ...]:
    waits = (found.wait_ms_p50, found.wait_ms_p95, found.wait_ms_p99)
    runs = (found.run_ms_p50, found.run_ms_p95, found.run_ms_p99)
    counts = map(str, (found.attempts, found.retried, found.dead))
    return (found.task, found.queue, *counts, *map(humane, waits), *map(humane, runs))


def actions_text(actions: Sequence[OperatorAction]) -> str:
    rows = ((moment(a.at), a.actor, a.source, a.action, str(a.affected), a.outcome, a.target[:60]) for a in actions)
    header = ("at", "who", "by", "did", "count", "outcome", "to what")
    return "\n".join(table(header, rows)) if actions else "No operator has acted."


def table(header: Sequence[str], rows: Any) -> list[str]:
    """Columns as wide as their content; control characters cannot move a terminal's cursor."""
    lines = [tuple(header), *(tuple(map(printable, line)) for line in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def printable(text: str) -> str:
    """On one line, and without what moves a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def _readable(text: str) -> str:
    """Lines and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)


def moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
