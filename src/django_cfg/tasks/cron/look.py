"""READ: schedules as operators see them. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django_cfg.errors import CronError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.due import moment_of
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.models import Schedule, Tick
from django_cfg.tasks.models.schedule import Source
from django_cfg.tasks.models.tick import TickState


@dataclass(frozen=True)
class ScheduleInfo:
    """One schedule as it applies now. Moments are ISO texts in UTC.

    Attributes:
        source: "code" or "admin"; "gone" for one that the code has no more.
        words: its times in English.
        overridden: the keys that an operator changed.
        state: "on", "off" (not enabled), "paused", "gone" or "wrong".
        error: why it is wrong.
        next: when its next ticks will be enqueued.
        last: the nominal time of its latest run.
    """

    name: str
    task: str
    words: str
    source: str
    state: str
    overridden: tuple[str, ...] = ()
    paused_note: str = ""
    error: str = ""
    next: tuple[str, ...] = ()
    last: str | None = None
    last_message_id: str = ""


@dataclass(frozen=True)
class TickInfo:
    """One tick, or a gap of several. Moments are ISO texts in UTC."""

    kind: str
    state: str
    nominal: str
    first: str
    count: int
    reason: str
    message_id: str
    outcome: str
    ping: str


def schedules(broker: EngineBroker, code: Mapping[str, Entry], *, count: int = 1) -> list[ScheduleInfo]:
    """Every schedule by name.

    Parameters:
        count: how many of the next ticks to tell.
    """
    alias = store.alias_of(broker)
    _, now_ms = store.glance(alias)
    rows = {row.name: row for row in Schedule.objects.using(alias).order_by("name")}
    new = {name: Schedule(name=name, settled_at=now_ms) for name in code if name not in rows}
    return [describe(row, code.get(name), now_ms, count) for name, row in sorted({**rows, **new}.items())]


def describe(row: Schedule, code: Entry | None, now_ms: int, count: int = 1) -> ScheduleInfo:
    """What one row means together with the code."""
    written: dict[str, Any] = row.definition
    try:
        entry = store.effective(row, code)
    except CronError as error:
        return ScheduleInfo(row.name, str(written.get("actor_name", "")), "", row.source, "wrong", error=str(error))
    if entry is None:
        return ScheduleInfo(row.name, str(written.get("actor_name", "")), "", "gone", "gone", last=_last(row))
    state = "paused" if row.paused_at is not None else "on" if entry.enabled else "off"
    return ScheduleInfo(
        name=row.name,
        task=entry.actor_name,
        words=entry.words,
        source=row.source if row.pk else Source.CODE.value,
        state=state,
        overridden=tuple(sorted(row.override)),
        paused_note=row.paused_note,
        next=_next(entry, now_ms, count) if state == "on" else (),
        last=_last(row),
        last_message_id=row.last_message_id,
    )


def _next(entry: Entry, now_ms: int, count: int) -> tuple[str, ...]:
    found = islice(entry.timing.after(now_ms - entry.delay_ms), count)
    return tuple(iso(ms + entry.delay_ms) for ms in found)


def _last(row: Schedule) -> str | None:
    return None if row.last_nominal_at is None else iso(row.last_nominal_at)


def iso(milliseconds: int) -> str:
    """A moment as text: 2026-06-01T02:00:00Z."""
    moment = moment_of(milliseconds)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def ticks(broker: EngineBroker, row: Schedule, limit: int = 50) -> list[TickInfo]:
    """The newest ticks of a schedule, with what became of their runs."""
    alias = store.alias_of(broker)
    found = list(Tick.objects.using(alias).filter(schedule=row).order_by("-nominal_at", "-id")[:limit])
    outcomes = _outcomes(broker, [tick for tick in found if tick.message_id])
    return [
        TickInfo(
            kind=tick.kind,
            state=tick.state,
            nominal=iso(tick.nominal_at),
            first=iso(tick.first_at),
            count=tick.count,
            reason=tick.reason,
            message_id=tick.message_id,
            outcome=outcomes.get(tick.message_id, "ended") if tick.state == TickState.ENQUEUED else "",
            ping=tick.ping,
        )
        for tick in found
    ]


def _outcomes(broker: EngineBroker, ticks: list[Tick]) -> dict[str, str]:
    """States from the records; what has none and is still held waits or runs."""
    from_records = store.recorded_states(broker, [tick.message_id for tick in ticks])
    return {tick.message_id: from_records.get(tick.message_id) or _from_broker(broker, tick) for tick in ticks}


def _from_broker(broker: EngineBroker, tick: Tick) -> str:
    is_held = store.is_held(broker, store.alias_of(broker), tick.message_id, tick.decided_at)
    return "waits or runs" if is_held else "ended"
