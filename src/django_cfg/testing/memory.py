"""A broker in memory that lends itself to a test: it remembers what it accepted, and its clock can be moved."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import dramatiq
from dramatiq import Message
from dramatiq.middleware import Middleware

from django_cfg.tasks import conf
from django_cfg.tasks.brokers import stack
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import FollowUp
from django_cfg.tasks.brokers.stub import StubBroker
from django_cfg.tasks.brokers.transactions import open_transaction
from django_cfg.tasks.conf import TaskSettings


class MemoryBroker(StubBroker):
    """A stub broker for one test, in place of every broker of the project.

    Attributes:
        accepted: every message that was stored, with its delay, in order; also those that have run since.
        noted: ids of messages that were sent, with the database whose transaction was open then, else "".
        on_accepted: called after each store.
    """

    stands_in = True

    def __init__(self, settings: TaskSettings, middleware: list[Middleware]) -> None:
        super().__init__(settings, middleware)
        self.accepted: list[FollowUp] = []
        self.noted: dict[str, str] = {}
        self.on_accepted: Any = _nothing
        self._offset_s = 0.0
        self.clock = lambda: time.monotonic() + self._offset_s

    def store(self, batch: Sequence[FollowUp]) -> None:
        super().store(batch)
        self.accepted.extend(batch)
        self.on_accepted()

    def note_sent(self, message: Message[Any]) -> None:
        connection = open_transaction(self.settings.records_database)
        self.noted[message.message_id] = connection.alias if connection is not None else ""

    def travel(self, seconds: float) -> None:
        """Let the clock be later; whoever waits looks again."""
        with self._changed:
            self._offset_s += seconds
            self._changed.notify_all()

    def until_next_due_s(self) -> float | None:
        """Seconds until the next delayed message; 0 if one is ready, None if nothing waits."""
        with self._changed:
            waiting = [entry.due_at for entry in self._live.values() if entry.session is None]
            return None if not waiting else max(0.0, min(waiting) - self.clock())

    def unfinished(self) -> list[Message[Any]]:
        """What waits or runs."""
        with self._changed:
            return [entry.message for entry in self._live.values()]


def _nothing() -> None:
    """Who listens when nobody does."""


class _Noting(Middleware):
    """Notes sends that a transaction still holds back."""

    def after_enqueue(self, broker: Any, message: Message[Any], delay: Any) -> None:
        broker.note_sent(message)


class Errors(Middleware):
    """Keeps the exceptions of attempts, so that a test shows where its task broke."""

    def __init__(self) -> None:
        self.by_id: dict[str, BaseException] = {}

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if exception is not None:
            self.by_id[message.message_id] = exception


def memory_broker(errors: Errors) -> MemoryBroker:
    """A broker in memory with the project's settings and middleware."""
    settings = conf.read()
    middleware, results = stack.build(settings)
    broker = MemoryBroker(settings, [*middleware, _Noting(), errors])
    results.broker = broker
    return broker


@contextmanager
def in_place_of_the_projects(broker: EngineBroker) -> Iterator[None]:
    """Every declared task is on this broker while the block runs, and on the project's again afterwards."""
    before = cast("EngineBroker", dramatiq.get_broker())
    _move(before, broker)
    dramatiq.set_broker(broker)
    try:
        yield
    finally:
        _move(broker, before)
        dramatiq.set_broker(before)


def _move(one: EngineBroker, other: EngineBroker) -> None:
    for actor in list(one.actors.values()):
        actor.broker = other
        if actor.actor_name not in other.actors:
            other.declare_actor(actor)
