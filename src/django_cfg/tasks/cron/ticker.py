"""Enqueues ticks at their time. Any number of tickers may run; the database decides which of them enqueues a tick.

A heap holds the next due time of every schedule, so that an idle ticker costs one small query a second, whatever
the number of schedules.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping

from django.db import connections
from dramatiq.logging import get_logger

from django_cfg.errors import CronError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.enrol import enrol
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.cron.plan import due_ms
from django_cfg.tasks.cron.settle import is_on, release, settle
from django_cfg.tasks.models import Schedule
from django_cfg.units import MS_PER_S, ms_to_s

logger = get_logger(__name__)
LOOK_EVERY_MS = 1_000
BATCH = 100


class Ticker:
    """The ticker of one process.

    Parameters:
        code: what the code declares, by name.
        glance: asks for the newest revision and the time; tests may travel with it.
    """

    def __init__(
        self,
        broker: EngineBroker,
        code: Mapping[str, Entry],
        glance: Callable[[str], tuple[int, int]] = store.glance,
    ) -> None:
        self._broker, self._code, self._glance = broker, code, glance
        self._alias = store.alias_of(broker)
        self._heap: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}
        self._buffered: set[str] = set()
        self._revision = -1
        self._now_ms, self._looked_at = 0, -float(LOOK_EVERY_MS)

    def turn(self) -> float:
        """Enqueue what is due; returns the seconds until there is something to do."""
        self._look()
        now_ms = self._now()
        while due := self._take_due(now_ms):
            self._settle(due, now_ms)
        return self._pause_s()

    # -- time ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if _monotonic_ms() - self._looked_at < LOOK_EVERY_MS:
            return
        revision, self._now_ms = self._glance(self._alias)
        self._looked_at = _monotonic_ms()
        if self._revision < 0:
            enrol(self._alias, self._code, self._now_ms)
        if revision != self._revision:
            self._learn(revision)
        for name in list(self._buffered):
            self._release(name)

    def _now(self) -> int:
        return self._now_ms + int(_monotonic_ms() - self._looked_at)

    def _pause_s(self) -> float:
        next_look_ms = self._looked_at + LOOK_EVERY_MS - _monotonic_ms()
        next_due_ms = self._heap[0][0] - self._now() if self._heap else next_look_ms
        return max(0.0, ms_to_s(min(next_look_ms, next_due_ms)))

    # -- what is known ---------------------------------------------------------------------------------

    def _learn(self, revision: int) -> None:
        """Take in what changed up to a revision that was read before; what changes meanwhile has a higher one."""
        changed = Schedule.objects.using(self._alias).filter(revision__gt=self._revision)
        for row in changed.iterator(chunk_size=2000):
            self._know(row)
        self._revision = revision

    def _know(self, row: Schedule) -> None:
        self._buffered.discard(row.name)
        self._due.pop(row.name, None)
        entry = self._entry(row)
        if entry is None or not is_on(row, entry):
            return
        if row.buffered_at is not None:
            self._buffered.add(row.name)
        self._expect(row.name, due_ms(entry, row.settled_at))

    def _entry(self, row: Schedule) -> Entry | None:
        try:
            return store.effective(row, self._code.get(row.name))
        except CronError as error:
            logger.error("%s. It does not tick until it is corrected.", error)
            return None

    def _expect(self, name: str, at_ms: int | None) -> None:
        if at_ms is not None:
            self._due[name] = at_ms
            heapq.heappush(self._heap, (at_ms, name))

    # -- ticking ---------------------------------------------------------------------------------------

    def _take_due(self, now_ms: int) -> list[str]:
        """Names of due schedules, at most a batch; entries of the heap that were overtaken are dropped."""
        names: list[str] = []
        while self._heap and self._heap[0][0] <= now_ms and len(names) < BATCH:
            at_ms, name = heapq.heappop(self._heap)
            if self._due.get(name) == at_ms:
                del self._due[name]
                names.append(name)
        return names

    def _settle(self, names: list[str], now_ms: int) -> None:
        try:
            settle(self._broker, self._alias, self._code, names, now_ms)
        except BaseException:
            for name in names:
                self._expect(name, now_ms)  # not decided, so it stays due
            raise
        for row in Schedule.objects.using(self._alias).filter(name__in=names):
            self._know(row)

    def _release(self, name: str) -> None:
        if release(self._broker, self._alias, self._code, name, self._now()):
            self._buffered.discard(name)

    def close(self) -> None:
        """Give the connection back."""
        connections[self._alias].close()


def _monotonic_ms() -> float:
    return time.monotonic() * MS_PER_S
