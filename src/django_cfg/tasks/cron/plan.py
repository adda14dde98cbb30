"""Which ticks of a schedule are enqueued now, and which are not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from django_cfg.tasks.cron.entry import Entry
from django_cfg.units import s_to_ms

#: The newest tick is on time up to this age; every other one is missed.
ON_TIME_MS = 60_000
#: Missed ticks are counted no further.
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Gap:
    """Due times that are not enqueued, from the first to the last."""

    first_ms: int
    last_ms: int
    count: int


@dataclass(frozen=True)
class Plan:
    """What to do with the due times after `settled_ms`; all up to the new `settled_ms` are then decided."""

    settled_ms: int
    enqueue: tuple[int, ...] = ()
    missed: Gap | None = None


def plan(entry: Entry, settled_ms: int, now_ms: int) -> Plan:
    """The decision for one schedule.

    Parameters:
        settled_ms: the nominal time up to which every tick is decided already.
        now_ms: the moment; a tick is due its jitter after its nominal time.
    """
    until_ms = now_ms - entry.delay_ms
    newest = entry.timing.newest(settled_ms, until_ms, _most(entry)) if until_ms > settled_ms else []
    if not newest:
        return Plan(settled_ms)
    chosen = tuple(ms for ms in newest if _is_wanted(entry, ms, newest[-1], until_ms))
    last_dropped_ms = chosen[0] - 1 if chosen else newest[-1]
    return Plan(newest[-1], chosen, _gap(entry, settled_ms, last_dropped_ms))


def due_ms(entry: Entry, settled_ms: int) -> int | None:
    """When the next tick has to be enqueued; None if there is none."""
    nominal_ms = entry.timing.next_after(settled_ms)
    return None if nominal_ms is None else nominal_ms + entry.delay_ms


def gap_between(entry: Entry, after_ms: int, until_ms: int) -> Gap | None:
    """All due times later than the one moment and not later than the other."""
    return _gap(entry, after_ms, until_ms)


def _most(entry: Entry) -> int:
    return entry.missed_limit if entry.missed == "all" else 1


def _is_wanted(entry: Entry, nominal_ms: int, newest_ms: int, until_ms: int) -> bool:
    age_ms = until_ms - nominal_ms
    if nominal_ms == newest_ms and age_ms <= ON_TIME_MS:
        return True
    return entry.missed != "skip" and age_ms <= s_to_ms(entry.missed_window_s)


def _gap(entry: Entry, after_ms: int, until_ms: int) -> Gap | None:
    count = entry.timing.count_between(after_ms, until_ms, MOST_COUNTED)
    if not count:
        return None
    first_ms = entry.timing.next_after(after_ms)
    last_ms = entry.timing.newest(after_ms, until_ms, 1)[-1]
    return Gap(first_ms or last_ms, last_ms, count)
