"""Pages of records by key: no count, no offset, no whole table."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import Any

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Concat

from django_cfg.errors import FilterError
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import Attempt, TaskRecord
from django_cfg.tasks.records.filter import TaskFilter

#: Text has no index; so many records are looked through for it before the answer says how far it got.
MOST_SEARCHED = 5_000
CHUNK = 1_000
LIGHT = ("updated_at", "message_id", "error", "error_type", "reason", "fingerprint", "tags", "worker", "parent_id")
MOST_ATTEMPTS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Cursor = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Records, the last changed first.

    Attributes:
        next: where the next page begins, for `after`; "" at the end.
        is_partial: a search through texts stopped before the end; `next` goes on from there.
    """

    records: list[TaskRecord]
    next: str = ""
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """All that is recorded of one task."""

    record: TaskRecord | None
    attempts: list[Attempt]


def detail(alias: str, message_id: str) -> TaskDetail | None:
    """By the key; None if there is nothing."""
    record = TaskRecord.objects.using(alias).filter(message_id=message_id).first()
    attempts = Attempt.objects.using(alias).filter(message_id=message_id).order_by("generation", "fence")
    found = TaskDetail(record, list(attempts[:MOST_ATTEMPTS]))
    return found if found.record is not None or found.attempts else None


def page(alias: str, only: TaskFilter, limit: int, after: str = "") -> Page:
    """A page of what matches.

    Raises:
        FilterError: `after` is no cursor of ours.
    """
    start = cursor(after) if after else None
    if not _needs_search(only):
        found = list(islice(_in_order(alias, only, start, limit + 1), limit + 1))
        return Page(found[:limit], cursor_of(found[limit - 1]) if len(found) > limit else "")
    return _searched(alias, only, limit, start)


def _searched(alias: str, only: TaskFilter, limit: int, start: Cursor | None) -> Page:
    """A page of what only a look at each record can find; the records themselves are read at the end."""
    found: list[str] = []
    last: Any = None
    for looked, light in enumerate(_in_order(alias, only, start, CHUNK, LIGHT)):
        if len(found) == limit or looked >= MOST_SEARCHED:
            more = cursor_at(last.updated_at, last.message_id)
            return Page(_read(alias, found), more, is_partial=len(found) < limit)
        last = light
        if says(light, only):
            found.append(light.message_id)
    return Page(_read(alias, found))


def _read(alias: str, ids: list[str]) -> list[TaskRecord]:
    rows = TaskRecord.objects.using(alias).in_bulk(ids)
    return [rows[message_id] for message_id in ids if message_id in rows]


def _needs_search(only: TaskFilter) -> bool:
    return bool(only.error or only.group or only.tag or only.worker or only.parent)


def every(alias: str, only: TaskFilter) -> Iterator[TaskRecord]:
    """Everything that matches, read in chunks, the last changed first."""
    return (record for record in _in_order(alias, only, None, CHUNK) if says(record, only))


def says(record: Any, only: TaskFilter) -> bool:
    """Whether a record matches what no index can answer."""
    text = only.error.lower()
    return (
        (not text or text in record.error.lower() or text in f"{record.error_type} {record.reason}".lower())
        and (not only.group or record.fingerprint == only.group)
        and (not only.tag or f",{only.tag}," in record.tags)
        and (not only.worker or only.worker in record.worker)
        and (not only.parent or record.parent_id == only.parent)
    )


def _in_order(
    alias: str, only: TaskFilter, after: Cursor | None, chunk: int, columns: Sequence[str] = ()
) -> Iterator[Any]:
    """Of several states, tasks or queues each alone is one walk along an index; together they are merged."""
    walks = [
        _walk(alias, only, equal, after, chunk, columns)
        for equal in product(only.states or (None,), only.tasks or (None,), only.queues or (None,))
    ]
    return walks[0] if len(walks) == 1 else heapq.merge(*walks, key=_key, reverse=True)


def _walk(
    alias: str, only: TaskFilter, equal: tuple[Any, ...], after: Cursor | None, size: int, columns: Sequence[str]
) -> Iterator[Any]:
    rows = _chosen(TaskRecord.objects.using(alias), *equal)
    if only.ids:
        rows = rows.filter(message_id__in=only.ids)
    if only.since is not None:
        rows = rows.filter(updated_at__gte=only.since)
    if only.before is not None:
        rows = rows.filter(updated_at__lt=only.before)
    while True:
        ordered = behind(rows, after)[:size]
        chunk: list[Any] = list(ordered.values_list(*columns, named=True) if columns else ordered)
        yield from chunk
        if len(chunk) < size:
            return
        after = _key(chunk[-1])


def _chosen(
    rows: QuerySet[TaskRecord], state: State | None, task: str | None, queue: str | None
) -> QuerySet[TaskRecord]:
    """Equal to these, along the index of the rarest. Completed tasks are most, those in any other state are few."""
    given = {name: value for name, value in (("state", state), ("task", task), ("queue", queue)) if value is not None}
    leading = next((name for name in _by_rarity(state) if name in given), None)
    for name, value in given.items():
        if name == leading:
            rows = rows.filter(**{name: value})
        else:
            # A planner without statistics would as soon take this column's index; none has one of an expression.
            rows = rows.alias(**{f"the_{name}": Concat(name, Value(""))}).filter(**{f"the_{name}": value})
    return rows


def _by_rarity(state: State | None) -> tuple[str, ...]:
    return ("task", "queue", "state") if state is State.COMPLETED else ("state", "task", "queue")


def behind(rows: QuerySet[TaskRecord], after: Cursor | None) -> QuerySet[TaskRecord]:
    """The rows older than a key, the newest first."""
    if after is not None:
        moment, message_id = after
        # The first condition is the range that an index can begin at; the second cuts rows of the same moment.
        rows = rows.filter(updated_at__lte=moment).filter(
            Q(updated_at__lt=moment) | Q(updated_at=moment, message_id__lt=message_id)
        )
    return rows.order_by("-updated_at", "-message_id")


def _key(record: Any) -> Cursor:
    return record.updated_at, record.message_id


def cursor_of(record: TaskRecord) -> str:
    """Where a page that ends with this record goes on."""
    return cursor_at(record.updated_at, record.message_id)


def cursor_at(at: datetime, key: str) -> str:
    """A cursor of any list that is ordered by a moment and a key."""
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}.{key}"


def cursor(text: str) -> Cursor:
    """The key in a cursor.

    Raises:
        FilterError: it is none.
    """
    number, dot, message_id = text.partition(".")
    try:
        if dot:
            return _EPOCH + timedelta(microseconds=int(number)), message_id
    except (ValueError, OverflowError):
        pass  # the answer stands below
    raise FilterError(f"after={text[:80]!r} is no cursor; take `next` of the page before")


def dead_ids(alias: str, fingerprint: str, limit: int = CHUNK) -> list[str]:
    """Dead letters of one group of failures, as far as the records know."""
    rows = TaskRecord.objects.using(alias).filter(state=State.DEAD_LETTER.value, fingerprint=fingerprint)
    return list(rows.order_by("-updated_at").values_list("message_id", flat=True)[:limit])
