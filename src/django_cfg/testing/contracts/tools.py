"""What the laws of brokers and workers are written with."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import dramatiq
from dramatiq import Actor, Message
from dramatiq.results import ResultFailure

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    Answer,
    Claim,
    Failure,
    Outcome,
    ProcessIdentity,
    QueueStats,
    Session,
    Want,
)
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.events import TaskSettled, task_settled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.testing.waiting import eventually

QUEUE = "default"
PATIENCE_MS = 15_000


def dead_process() -> ProcessIdentity:
    """A process of this host that has surely ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mine = identity()
        return ProcessIdentity(mine.host_id, mine.host, process.pid, "1")


def message(task: str = "work", *args: Any, queue: str = QUEUE, **options: Any) -> Message[Any]:
    return Message(queue_name=queue, actor_name=task, args=args, kwargs={}, options=options)


def done(claim: Claim, **more: Any) -> Outcome:
    return Outcome(claim, Kind.DONE, claim.message, **more)


def retry(claim: Claim, delay_ms: int = 0, **options: Any) -> Outcome:
    return Outcome(claim, Kind.RETRY, claim.message.copy(options=options), delay_ms=delay_ms)


def dead(claim: Claim) -> Outcome:
    errors = [{"type": "ValueError", "text": "bad", "traceback": "Traceback: bad", "at": 1}]
    failure = Failure("ValueError", "bad", "Traceback: bad")
    changed = claim.message.copy(options={"errors": errors})
    return Outcome(claim, Kind.DEAD, changed, failure=failure, reason="failed: ValueError")


def released(claim: Claim) -> Outcome:
    return Outcome(claim, Kind.RELEASED, claim.message)


class Client:
    """A worker process as the broker sees it: a session and its numbered exchanges."""

    def __init__(self, broker: EngineBroker, who: ProcessIdentity | None = None) -> None:
        self.broker = broker
        self.session: Session = broker.open_session(who or identity())
        self.seq = 0

    def exchange(
        self, *outcomes: Outcome, count: int = 10, queues: Sequence[str] = (QUEUE,), suspect: bool = True
    ) -> Answer:
        self.seq += 1
        return self.broker.exchange(self.session, self.seq, outcomes, Want(count, tuple(queues), suspect))

    def repeat(self, *outcomes: Outcome, count: int = 10) -> Answer:
        return self.broker.exchange(self.session, self.seq, outcomes, Want(count, (QUEUE,)))

    def claim(self, **want: Any) -> list[Claim]:
        return list(self.exchange(**want).claims)

    def claim_soon(self) -> Claim:
        """The next claim, waiting for one that is due in a moment."""
        return eventually(lambda: self.claim(count=1))[0]


def needs(can: bool, what: str) -> None:
    """Skip a law that a flag of the broker excludes, with the reason in its words."""
    if not can:
        raise SkipTest(f"weaker by design: {what}")


def at_rest(broker: EngineBroker) -> bool:
    """Nothing of the queue waits, runs or will run again soon, as far as the broker can tell."""
    return stats(broker).living == 0


def declare(function: Callable[..., Any], **options: Any) -> Actor[Any, Any]:
    """A task of the global broker; the name is given, because functions of a test may have none."""
    actor: Actor[Any, Any] = dramatiq.actor(**options)(function)
    return actor


def ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.message_id for claim in claims]


def stats(broker: EngineBroker, queue: str = QUEUE) -> QueueStats:
    return next((s for s in broker.queue_stats() if s.queue == queue), QueueStats(queue))


@contextmanager
def waiting(broker: EngineBroker) -> Iterator[threading.Event]:
    """A thread that has looked and waits as an idle worker does; the event is set when it has something to do."""
    looked, returned = threading.Event(), threading.Event()

    def wait() -> None:
        waiter = broker.waiter()
        client = Client(broker)
        try:
            has_work = bool(client.claim())
            looked.set()
            if not has_work:
                waiter.wait((QUEUE,), 10)
            returned.set()
        finally:
            broker.close_session(client.session)
            waiter.close()
            broker.close()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    looked.wait(10)
    try:
        yield returned
    finally:
        thread.join(15)


@contextmanager
def working(broker: EngineBroker, threads: int = 4, **more: Any) -> Iterator[EngineWorker]:
    """A worker in this process."""
    worker = EngineWorker(broker, worker_threads=threads, **more)
    broker.emit_after("process_boot")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5_000)


@contextmanager
def settled_events() -> Iterator[list[TaskSettled]]:
    """What settles meanwhile."""
    seen: list[TaskSettled] = []
    stop = task_settled.subscribe(seen.append)
    try:
        yield seen
    finally:
        stop()


@contextmanager
def unlogged() -> Iterator[None]:
    """Log nothing meanwhile: not every test runner can carry every text."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Failing(Exception):
    """What the tasks of this suite raise."""


def expect_failure(sent: Message[Any], text: str) -> None:
    """Wait for the task to end badly, with this text in its error."""
    try:
        sent.get_result(block=True, timeout=PATIENCE_MS)
    except ResultFailure as error:
        assert text in str(error)
    else:
        raise AssertionError("the task succeeded")
