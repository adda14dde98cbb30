"""Named facts about tasks and workers, and a way to hear of them. Listeners must be quick and change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django_cfg.tasks.lifecycle import Kind

logger = logging.getLogger(__name__)
Fact = TypeVar("Fact")
Payload = TypeVar("Payload")


class Event(Generic[Payload]):
    """One kind of fact. A listener that raises is logged and harms nobody."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._listeners: list[Callable[[Payload], None]] = []

    def subscribe(self, listener: Callable[[Payload], None]) -> Callable[[], None]:
        """Hear of it from now on; returns the way to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, payload: Payload) -> None:
        for listener in list(self._listeners):
            self._tell(listener, payload)

    def _tell(self, listener: Callable[[Payload], None], payload: Payload) -> None:
        try:
            listener(payload)
        except Exception:
            logger.exception("A listener of %s failed.", self.name)


class BulkEvent(Event[Payload], Generic[Fact, Payload]):
    """A kind of fact that comes by the thousand. A listener may bring a *sieve*, which gets the facts as they are and
    returns those that the listener wants to hear of: a payload is made for nobody else."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._sieves: dict[Callable[[Payload], None], Callable[[Sequence[Fact]], Sequence[Fact]]] = {}

    def subscribe(
        self, listener: Callable[[Payload], None], sieve: Callable[[Sequence[Fact]], Sequence[Fact]] | None = None
    ) -> Callable[[], None]:
        stop = super().subscribe(listener)
        if sieve is None:
            return stop
        self._sieves[listener] = sieve

        def stop_both() -> None:
            stop()
            del self._sieves[listener]

        return stop_both

    def emit_all(self, facts: Sequence[Fact], payload_of: Callable[[Fact], Payload]) -> None:
        """Tell of many at once."""
        payloads: dict[int, Payload] = {}
        for listener in list(self._listeners):
            for fact in self._sift(listener, facts):
                payload = payloads.get(id(fact))
                if payload is None:
                    payload = payloads[id(fact)] = payload_of(fact)
                self._tell(listener, payload)

    def _sift(self, listener: Callable[[Payload], None], facts: Sequence[Fact]) -> Sequence[Fact]:
        sieve = self._sieves.get(listener)
        if sieve is None:
            return facts
        try:
            return sieve(facts)
        except Exception:
            logger.exception("A sieve of %s failed.", self.name)
            return facts


@dataclass(slots=True)
class TaskSettled:
    """The broker accepted the outcome of a claim. Only such outcomes become records.

    Not frozen: with so many fields that would cost more than all the rest of an event.

    Attributes:
        fence, generation: which claim of which life of the message.
        wait_ms, run_ms: from runnable to started, from started to ended.
        deliveries: earlier runs that ended with the death of their process.
        body: the message as it was stored; None where nobody read it.
        result: what the task returned, in wire form; None if nothing is kept.
        started: False for a claim that was given back or buried before its task began.
        fingerprint, place: which fault it was, and the function that raised.
    """

    message_id: str
    task: str
    queue: str
    kind: Kind
    generation: int
    fence: int
    retries: int
    enqueued_at_ms: int
    wait_ms: float
    run_ms: float
    reason: str
    error_type: str
    error: str
    traceback: str
    deliveries: int = 0
    body: str = ""
    result: Any = None
    started: bool = True
    fingerprint: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeRefused:
    """A worker finished a task that the broker had meanwhile given to somebody else."""

    message_id: str
    task: str
    queue: str


@dataclass(frozen=True, slots=True)
class TaskEnqueued:
    """A task was sent: it is stored, or part of the sender's transaction.

    Attributes:
        delay_ms: how long it is to wait at least; 0 for one that may run at once.
    """

    message_id: str
    task: str
    queue: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class WorkerNews:
    """A worker process started or stops."""

    host: str
    pid: int
    queues: tuple[str, ...]
    threads: int


#: The facts are outcomes as a worker has them.
task_settled: BulkEvent[Any, TaskSettled] = BulkEvent("task_settled")
outcome_refused: Event[OutcomeRefused] = Event("outcome_refused")
