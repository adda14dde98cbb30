"""WRITE: what operators do to schedules. Each change is known to every scheduler within a second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django_cfg.errors import CronError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.enrol import enrol, respec
from django_cfg.tasks.cron.entry import Entry, read
from django_cfg.tasks.cron.plan import gap_between
from django_cfg.tasks.cron.settle import Batch, enqueue, gap_tick, write
from django_cfg.tasks.models import Schedule, Tick
from django_cfg.tasks.models.schedule import Source
from django_cfg.tasks.models.tick import TickKind, TickState

MOST_BACKFILLED = 1_000
#: A backfill enqueues these; everything else was enqueued already.
OPEN = (TickState.SKIPPED, TickState.MISSED, TickState.REFUSED)


@dataclass(frozen=True)
class Backfilled:
    """What a backfill did: how many ticks it enqueued, and how many had been before."""

    enqueued: int
    already: int


class Operator:
    """Changes schedules on behalf of somebody.

    Parameters:
        code: what the code declares, by name.
        by: who, for the row.
    """

    def __init__(self, broker: EngineBroker, code: Mapping[str, Entry], by: str = "") -> None:
        self._broker, self._code, self._by = broker, code, by[:200]
        self._alias = store.alias_of(broker)

    def pause(self, name: str, note: str = "") -> None:
        """Enqueue no ticks until `resume`.

        Raises:
            CronError: there is no such schedule.
        """
        with self._changed(name) as row:
            row.paused_at = row.paused_at if row.paused_at is not None else self._now_ms()
            row.paused_note = note[:500]

    def resume(self, name: str) -> None:
        """End a pause. What was due meanwhile is skipped, and listed as one gap.

        Raises:
            CronError: there is no such schedule.
        """
        with self._changed(name) as row:
            if row.paused_at is None:
                return
            self._skip_until_now(row)
            row.paused_at, row.paused_note = None, ""

    def _skip_until_now(self, row: Schedule) -> None:
        now_ms = self._now_ms()
        entry = store.effective(row, self._code.get(row.name))
        gap = None if entry is None else gap_between(entry, row.settled_at, now_ms - entry.delay_ms)
        if gap is not None:
            reason = "paused" + (f": {row.paused_note}" if row.paused_note else "")
            store.add(self._alias, [gap_tick(row, gap, reason, now_ms)])
            row.settled_at = gap.last_ms

    def run_now(self, name: str) -> str:
        """Enqueue the task of a schedule at once, whatever its times, pause or overlap; returns the message id.

        Raises:
            CronError: there is no such schedule.
        """
        batch = Batch(self._broker, self._now_ms())
        with self._locked(name) as row:
            enqueue(batch, row, self._entry(row), batch.now_ms, TickKind.MANUAL)
            batch.rows.append(row)
            write(batch, self._alias)
        return batch.messages[0].message_id

    def backfill(self, name: str, from_ms: int, until_ms: int, *, dry_run: bool = False) -> Backfilled:
        """Enqueue the ticks of a time (both ends included) that were not enqueued, also from before its first.

        Parameters:
            until_ms: cut at what is decided already; later ticks come by themselves.

        Raises:
            CronError: there is no such schedule, or more than 1,000 ticks.
        """
        with self._locked(name) as row:
            entry = self._entry(row)
            times = _bounded(entry, from_ms, min(until_ms, row.settled_at))
            old = {tick.nominal_at: tick for tick in self._decided(row, times)}
            wanted = [ms for ms in times if ms not in old or old[ms].state in OPEN]
            if not dry_run:
                self._enqueue(row, entry, wanted, old)
        return Backfilled(len(wanted), len(times) - len(wanted))

    def _decided(self, row: Schedule, times: list[int]) -> list[Tick]:
        if not times:
            return []
        ours = Tick.objects.using(self._alias).filter(schedule=row, kind=TickKind.DUE)
        return list(ours.filter(nominal_at__range=(times[0], times[-1])))

    def _enqueue(self, row: Schedule, entry: Entry, times: list[int], old: Mapping[int, Tick]) -> None:
        last = row.last_message_id, row.last_nominal_at
        batch = Batch(self._broker, self._now_ms())
        for nominal_ms in times:
            enqueue(batch, row, entry, nominal_ms)
        replaced = [old[ms].id for ms in times if ms in old]
        Tick.objects.using(self._alias).filter(id__in=replaced).delete()
        row.last_message_id, row.last_nominal_at = last  # old times say nothing about the latest run
        write(batch, self._alias)

    def override(self, name: str, keys: Mapping[str, Any]) -> None:
        """Change keys of a schedule of the code, until `reset`.

        Raises:
            CronError: there is no such schedule, or the result would be wrong.
        """
        with self._changed(name) as row:
            row.override = dict(keys)
            respec(row, self._entry(row), self._now_ms())

    def reset(self, name: str) -> None:
        """Take back every override: the code counts again.

        Raises:
            CronError: there is no such schedule.
        """
        with self._changed(name) as row:
            row.override = {}
            respec(row, store.effective(row, self._code.get(name)), self._now_ms())

    def define(self, definition: Mapping[str, Any]) -> None:
        """Make a schedule of the operator's own, or change it.

        Raises:
            CronError: the definition is wrong, or its name is one of the code's.
        """
        entry = read(definition, "this schedule")
        if entry.name in self._code:
            raise CronError(f"{entry.name!r} is a schedule of the code; override it, or choose another name")
        Schedule.objects.using(self._alias).get_or_create(
            name=entry.name, defaults={"source": Source.ADMIN, "definition": entry.written()}
        )
        with self._changed(entry.name) as row:
            row.source, row.definition, row.override = Source.ADMIN, entry.written(), {}
            respec(row, entry, self._now_ms())

    def delete(self, name: str) -> None:
        """Delete a schedule of an operator, or the rows of one that the code has no more.

        Raises:
            CronError: there is no such schedule, or the code still declares it.
        """
        if name in self._code:
            raise CronError(f"{name!r} is a schedule of the code; remove it there, or pause it")
        with store.changing(self._alias):
            self._row(name).delete()

    # -- rows ------------------------------------------------------------------------------------------

    @contextmanager
    def _changed(self, name: str) -> Iterator[Schedule]:
        self._enrol()
        with store.changing(self._alias) as revision:
            row = self._row(name)
            yield row
            row.revision, row.changed_by = revision, self._by
            row.save(using=self._alias)

    @contextmanager
    def _locked(self, name: str) -> Iterator[Schedule]:
        self._enrol()
        with store.deciding(self._alias):
            yield self._row(name)

    def _enrol(self) -> None:
        """A schedule can be paused before any scheduler has seen it."""
        enrol(self._alias, self._code, self._now_ms())

    def _row(self, name: str) -> Schedule:
        found = store.locked(self._alias, [name])
        if not found:
            known = ", ".join(sorted({*self._code, *store.names(self._alias)})) or "none"
            raise CronError(f"no schedule is named {name!r}; known: {known}")
        return found[0]

    def _entry(self, row: Schedule) -> Entry:
        entry = store.effective(row, self._code.get(row.name))
        if entry is None:
            raise CronError(f"the code has no schedule {row.name!r} any more")
        return entry

    def _now_ms(self) -> int:
        return store.glance(self._alias)[1]


def _bounded(entry: Entry, from_ms: int, until_ms: int) -> list[int]:
    if entry.timing.count_between(from_ms - 1, until_ms, MOST_BACKFILLED + 1) > MOST_BACKFILLED:
        raise CronError(
            f"more than {MOST_BACKFILLED:,} ticks of {entry.name!r} fall into that time; take a shorter one"
        )
    return list(entry.timing.between(from_ms - 1, until_ms))
