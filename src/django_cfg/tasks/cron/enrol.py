"""Makes the rows of the schedules that the code declares."""

from __future__ import annotations

from collections.abc import Mapping

from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.models import Schedule
from django_cfg.tasks.models.schedule import Source

CHUNK = 500


def enrol(alias: str, code: Mapping[str, Entry], now_ms: int) -> None:
    """New schedules start now; one whose times changed starts anew, because old times say nothing about new ones."""
    known = {row.name: row for row in Schedule.objects.using(alias).all()}
    new = [entry for name, entry in code.items() if name not in known]
    changed = [known[name] for name, entry in code.items() if name in known and _differs(known[name], entry)]
    if not new and not changed:
        return
    with store.changing(alias) as revision:
        rows = [_row(entry, now_ms, revision) for entry in new]
        Schedule.objects.using(alias).bulk_create(rows, ignore_conflicts=True, batch_size=CHUNK)
        for row in store.locked(alias, [row.name for row in changed]):
            _adopt(row, code[row.name], now_ms, revision)
            row.save(using=alias, update_fields=["definition", "spec", "settled_at", "revision", "source"])


def respec(row: Schedule, entry: Entry | None, now_ms: int) -> None:
    """Start anew if the times of a schedule are others than before."""
    spec = "" if entry is None else entry.spec
    if spec != row.spec:
        row.spec, row.settled_at = spec, max(row.settled_at, now_ms)


def _differs(row: Schedule, entry: Entry) -> bool:
    return row.definition != entry.written() or row.source != Source.CODE


def _row(entry: Entry, now_ms: int, revision: int) -> Schedule:
    return Schedule(name=entry.name, definition=entry.written(), spec=entry.spec, settled_at=now_ms, revision=revision)


def _adopt(row: Schedule, entry: Entry, now_ms: int, revision: int) -> None:
    row.source, row.definition, row.revision = Source.CODE, entry.written(), revision
    respec(row, store.effective(row, entry), now_ms)
