"""Rollups: counts and durations per minute, hour and day, added up by the workers themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import connections, transaction

from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.models import Grain, Rollup
from django_cfg.tasks.records import histogram

#: Numbers that a tally notes before it adds them up.
MOST_PLAIN = 4096
Key = tuple[str, datetime, str, str]


@dataclass
class Tally:
    """What is to be added to one rollup."""

    attempts: int = 0
    completed: int = 0
    retried: int = 0
    dead: int = 0
    wait_ms_max: float = 0.0
    run_ms_max: float = 0.0
    run_ms_sum: float = 0.0
    waits: histogram.Histogram = field(default_factory=Counter)
    runs: histogram.Histogram = field(default_factory=Counter)
    _plain_waits: list[float] = field(default_factory=list)
    _plain_runs: list[float] = field(default_factory=list)

    def count_plain(self, waits_ms: list[float], runs_ms: list[float]) -> None:
        """More that succeeded. The buckets of many are found together."""
        self._plain_waits += waits_ms
        self._plain_runs += runs_ms
        if len(self._plain_runs) >= MOST_PLAIN:
            self.sum_up()

    def sum_up(self) -> None:
        """Add what was only noted yet."""
        waits, runs = self._plain_waits, self._plain_runs
        if not runs:
            return
        self._plain_waits, self._plain_runs = [], []
        self.attempts += len(runs)
        self.completed += len(runs)
        self.waits.update(histogram.buckets_of(waits))
        self.runs.update(histogram.buckets_of(runs))
        self.wait_ms_max = max(self.wait_ms_max, max(waits))
        self.run_ms_max = max(self.run_ms_max, max(runs))
        self.run_ms_sum += sum(runs)

    def count(self, event: TaskSettled) -> None:
        self.attempts += 1
        self.completed += event.kind is Kind.DONE
        self.retried += event.kind is Kind.RETRY
        self.dead += event.kind is Kind.DEAD
        self.waits[histogram.bucket_of(event.wait_ms)] += 1
        self.runs[histogram.bucket_of(event.run_ms)] += 1
        self.wait_ms_max = max(self.wait_ms_max, event.wait_ms)
        self.run_ms_max = max(self.run_ms_max, event.run_ms)
        self.run_ms_sum += event.run_ms

    def add(self, other: Tally) -> None:
        other.sum_up()
        self.attempts += other.attempts
        self.completed += other.completed
        self.retried += other.retried
        self.dead += other.dead
        self.waits.update(other.waits)
        self.runs.update(other.runs)
        self.wait_ms_max = max(self.wait_ms_max, other.wait_ms_max)
        self.run_ms_max = max(self.run_ms_max, other.run_ms_max)
        self.run_ms_sum += other.run_ms_sum


def tally_of(rows: Iterable[Rollup]) -> Tally:
    """Stored rollups as one."""
    found = list(rows)
    return Tally(
        *(sum(row.attempts for row in found), sum(row.completed for row in found)),
        *(sum(row.retried for row in found), sum(row.dead for row in found)),
        max((row.wait_ms_max for row in found), default=0.0),
        max((row.run_ms_max for row in found), default=0.0),
        sum(row.run_ms_sum for row in found),
        histogram.sum_of(row.waits for row in found),
        histogram.sum_of(row.runs for row in found),
    )


def spread(minutes: Mapping[tuple[int, str, str], Tally]) -> dict[Key, Tally]:
    """Tallies by minute (since 1970), queue and task as what is to be added to minutes, hours and days."""
    found: dict[Key, Tally] = {}
    for (minute, queue, task), tally in minutes.items():
        moment = datetime.fromtimestamp(minute * 60, UTC)
        for grain, start in starts(moment):
            found.setdefault((grain, start, queue, task), Tally()).add(tally)
    return found


def starts(moment: datetime) -> tuple[tuple[str, datetime], ...]:
    """The spans, in UTC, that a moment belongs to."""
    minute = moment.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    return (Grain.MINUTE.value, minute), (Grain.HOUR.value, hour), (Grain.DAY.value, hour.replace(hour=0))


def write(minutes: Mapping[tuple[int, str, str], Tally], alias: str) -> None:
    """Add tallies to what stands there. Workers lock their rows in one order, so they never wait in a circle."""
    wanted = spread(minutes)
    if not wanted:
        return
    with transaction.atomic(using=alias):
        rows = _locked(sorted(wanted), alias)
        for row in rows:
            _add(row, wanted[row.grain, row.starts_at, row.queue, row.task])
        with connections[alias].cursor() as cursor:  # a bulk_update would cost thrice as much CPU
            cursor.executemany(_UPDATE, [[*(getattr(row, name) for name in COLUMNS), row.pk] for row in rows])


COLUMNS = (
    *("attempts", "completed", "retried", "dead", "wait_ms_max", "run_ms_max", "run_ms_sum"),
    *("waits", "runs"),
)


_UPDATE = f"UPDATE {Rollup._meta.db_table} SET {', '.join(f'{name} = %s' for name in COLUMNS)} WHERE id = %s"


def _locked(keys: list[Key], alias: str) -> list[Rollup]:
    rows = Rollup.objects.using(alias)
    rows.bulk_create(
        [Rollup(grain=g, starts_at=start, queue=queue, task=task) for g, start, queue, task in keys],
        ignore_conflicts=True,
        batch_size=100,
    )
    wanted = set(keys)
    # Each column for itself names a few rows more than wanted; those are read and left alone.
    near = rows.filter(
        grain__in={key[0] for key in keys},
        starts_at__in={key[1] for key in keys},
        queue__in={key[2] for key in keys},
        task__in={key[3] for key in keys},
    )
    found = near.order_by("grain", "starts_at", "queue", "task").select_for_update()
    return [row for row in found if (row.grain, row.starts_at, row.queue, row.task) in wanted]


def _add(row: Rollup, tally: Tally) -> None:
    total = tally_of([row])
    total.add(tally)
    for name in COLUMNS[:-2]:
        setattr(row, name, getattr(total, name))
    row.waits, row.runs = histogram.dumps(total.waits), histogram.dumps(total.runs)
