"""When a schedule is due. Pure: moments are arguments, as whole milliseconds since 1970 in UTC.

A *nominal* time is the moment that the schedule names; it identifies the tick, whenever that is enqueued. The
times of a schedule do not depend on where one starts to look, so every scheduler knows the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

from django_cfg import cron
from django_cfg.units import MS_PER_DAY, MS_PER_S

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What Python's calendar can still add a step to.
LAST_MS = 250_000_000_000_000
FIRST_SPAN_MS, LONGEST_SPAN_MS = 3_600_000, 50 * 366 * MS_PER_DAY


@dataclass(frozen=True)
class Cron:
    """Times of a checked cron expression on the clocks of a zone.

    Where clocks go forward, an expression with fixed hours and minutes runs at the first moment after the gap
    instead of in it; where they go back, it runs at the first of the two moments. One with `*` in its hour or
    minute field follows the time that really passes.
    """

    expression: str
    zone: ZoneInfo

    def after(self, moment_ms: int) -> Iterator[int]:
        """Nominal times later than a moment, in order."""
        if moment_ms >= LAST_MS:
            return iter(())
        # cronsim begins with the second after its start.
        start = moment_of(moment_ms // MS_PER_S * MS_PER_S)
        if cron.is_at_fixed_times(self.expression):
            return self._at_fixed_times(start, moment_ms)
        return self._as_time_passes(start)

    def _at_fixed_times(self, start: datetime, latest_ms: int) -> Iterator[int]:
        for found in CronSim(self.expression, start.astimezone(self.zone)):
            found_ms = ms_of(found)
            # From inside a repeated hour it first finds the times of the hour before.
            if found_ms > latest_ms:
                latest_ms = found_ms
                yield found_ms

    def _as_time_passes(self, moment: datetime) -> Iterator[int]:
        """One stretch of constant offset after the other.

        cronsim itself steps over changes by whole hours, which loses times where clocks change by half an hour.
        """
        change: datetime | None = moment
        before = timedelta()
        while change is not None:
            offset, change = _offset(change, self.zone), None
            for found in CronSim(self.expression, (moment + offset - before).replace(tzinfo=None)):
                due = found.replace(tzinfo=UTC) - offset
                change = _next_change(moment, due, self.zone)
                if change is not None:
                    moment, before = change, timedelta(seconds=1)  # the moment of the change may be due itself
                    break
                moment = due
                yield ms_of(due)


@dataclass(frozen=True)
class Interval:
    """Every so many milliseconds, counted from an anchor, so that a restart shifts nothing."""

    every_ms: int
    anchor_ms: int = 0

    def after(self, moment_ms: int) -> Iterator[int]:
        """Nominal times later than a moment, in order."""
        steps = (moment_ms - self.anchor_ms) // self.every_ms + 1
        while True:
            yield self.anchor_ms + steps * self.every_ms
            steps += 1


@dataclass(frozen=True)
class Timing:
    """The times of one schedule, within its start and its end (both included)."""

    rule: Cron | Interval
    start_ms: int | None = None
    end_ms: int | None = None

    def after(self, moment_ms: int) -> Iterator[int]:
        """Nominal times later than a moment, in order."""
        if self.start_ms is not None:
            moment_ms = max(moment_ms, self.start_ms - 1)
        for found_ms in self.rule.after(moment_ms):
            if self.end_ms is not None and found_ms > self.end_ms:
                return
            yield found_ms

    def next_after(self, moment_ms: int) -> int | None:
        """The first nominal time later than a moment; None if there is none."""
        return next(self.after(moment_ms), None)

    def between(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """Nominal times later than the one moment and not later than the other."""
        for found_ms in self.after(after_ms):
            if found_ms > until_ms:
                return
            yield found_ms

    def newest(self, after_ms: int, until_ms: int, count: int) -> list[int]:
        """The last `count` times of `between`, in order, without walking through all of a long time."""
        span_ms = FIRST_SPAN_MS
        while True:
            begin_ms = max(after_ms, until_ms - span_ms)
            found = list(self.between(begin_ms, until_ms))
            if len(found) >= count or begin_ms == after_ms or span_ms > LONGEST_SPAN_MS:
                return found[-count:] if count else []
            span_ms *= 2

    def count_between(self, after_ms: int, until_ms: int, most: int) -> int:
        """How many nominal times, counted no further than `most`."""
        return sum(1 for _ in islice(self.between(after_ms, until_ms), most))


def ms_of(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def moment_of(milliseconds: int) -> datetime:
    """The moment in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def clock_changes(rule: Cron, after_ms: int, days: int = 366) -> list[tuple[datetime, datetime]]:
    """Times of the wall clock that fall into a gap, and when they run instead: (missing, instead), in order.

    Only of expressions with fixed times; at most one of each gap is told.
    """
    if not cron.is_at_fixed_times(rule.expression) or rule.zone.key == "UTC":
        return []
    gaps = _gaps(rule.zone, moment_of(after_ms), days)
    return [(first, end) for begin, end in gaps if (first := _first_in(rule, begin, end)) is not None]


def _first_in(rule: Cron, begin: datetime, end: datetime) -> datetime | None:
    wall = begin.replace(tzinfo=None) - timedelta(seconds=1)
    found = next(CronSim(rule.expression, wall), None)
    return found if found is not None and found < end.replace(tzinfo=None) else None


def _gaps(zone: ZoneInfo, start: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
    """Where the wall clock jumps forward: the first time that is missing and the first that exists again."""
    end = start + timedelta(days=days)
    while (change := _next_change(start, end, zone)) is not None:
        before, after = _offset(change - timedelta(seconds=1), zone), _offset(change, zone)
        if after > before:
            yield (change + before).replace(tzinfo=None), (change + after).replace(tzinfo=None)
        start = change


def _next_change(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """The first moment after `begin`, up to and with `end`, at which the zone has another offset."""
    before = _offset(begin, zone)
    while begin < end:
        step = min(begin + timedelta(days=1), end)
        if _offset(step, zone) != before:
            return _change_within(begin, step, zone)
        begin = step
    return None


def _change_within(early: datetime, late: datetime, zone: ZoneInfo) -> datetime:
    before = _offset(early, zone)
    while late - early > timedelta(minutes=1):
        middle = early + (late - early) / 2
        early, late = (middle, late) if _offset(middle, zone) == before else (early, middle)
    return late.replace(second=0, microsecond=0)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
