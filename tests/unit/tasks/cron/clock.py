"""A database clock that stands until a test moves it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store, ticker
from django_cfg.tasks.cron.due import moment_of, ms_of
from django_cfg.tasks.cron.entry import Entry, read
from django_cfg.tasks.models import Tick


def at(text: str) -> int:
    """Milliseconds of an ISO moment with its offset."""
    return ms_of(datetime.fromisoformat(text))


def entries(*given: dict[str, object]) -> dict[str, Entry]:
    read_ones = [read({"actor_name": "job", **one}, "test") for one in given]
    return {entry.name: entry for entry in read_ones}


class Clock:
    """The time of several schedulers."""

    def __init__(self, now: str) -> None:
        self.now_ms = at(now)

    def glance(self, alias: str) -> tuple[int, int]:
        return store.glance(alias)[0], self.now_ms

    def set(self, now: str) -> None:
        self.now_ms = at(now)


class Still(ticker.Ticker):
    """A ticker that asks for the time in every turn."""

    def turn(self) -> float:
        self._looked_at -= ticker.LOOK_EVERY_MS
        return super().turn()

    def _now(self) -> int:
        return self._now_ms


def scheduler(broker: EngineBroker, clock: Clock, code: Mapping[str, Entry]) -> Still:
    made = Still(broker, code, clock.glance)
    made.turn()
    return made


def ticks(alias: str) -> list[tuple[str, str, int, str]]:
    """Kind, state, how many, and the nominal time in UTC of every tick."""
    rows = Tick.objects.using(alias).order_by("nominal_at", "id")
    return [(t.kind, t.state, t.count, moment(t.nominal_at)) for t in rows]


def moment(milliseconds: int) -> str:
    return moment_of(milliseconds).strftime("%m-%d %H:%M")
