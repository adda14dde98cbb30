"""From events to Django signals, in a thread of its own: a slow receiver holds up no task."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import close_old_connections, connections, reset_queries
from django.dispatch import Signal

from django_cfg.tasks import signals
from django_cfg.tasks.brokers.contract import Outcome
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.events import OutcomeRefused, TaskSettled, WorkerNews, outcome_refused, task_settled
from django_cfg.tasks.lifecycle import Kind

logger = logging.getLogger(__name__)
MOST_WAITING = 10_000
LAST_WORDS_S = 3.0
SETTLED = {
    Kind.DONE: signals.task_completed,
    Kind.RETRY: signals.task_retried,
    Kind.DEAD: signals.task_dead_lettered,
    Kind.RELEASED: signals.task_given_back,
}
Fact = TaskSettled | OutcomeRefused | WorkerNews


@contextmanager
def signalling(worker: WorkerNews | None = None) -> Iterator[None]:
    """Send signals while the block runs. Nothing is queued for a signal that nobody receives.

    Parameters:
        worker: a process that says when it starts and stops; None: one that runs no tasks.
    """
    sender = Sender()
    sender.start()
    stops = [task_settled.subscribe(sender.settled, heard), outcome_refused.subscribe(sender.refused)]
    if worker is not None:
        sender.put(signals.worker_started, worker)
    try:
        yield
    finally:
        if worker is not None:
            sender.put(signals.worker_stopped, worker)
        for stop in stops:
            stop()
        sender.finish()


def heard(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Those that somebody receives a signal of."""
    kinds = {kind for kind, signal in SETTLED.items() if signal.receivers}
    return [outcome for outcome in outcomes if outcome.kind in kinds] if kinds else ()


def this_worker(queues: Sequence[str], threads: int) -> WorkerNews:
    """What this process says about itself."""
    process = identity()
    return WorkerNews(process.host, process.pid, tuple(queues), threads)


class Sender(threading.Thread):
    """Sends signals one after the other."""

    def __init__(self, size: int = MOST_WAITING) -> None:
        super().__init__(name="signals", daemon=True)
        self._queue: queue.Queue[tuple[Signal, Fact] | None] = queue.Queue(size)
        self._dropped = 0

    def settled(self, event: TaskSettled) -> None:
        self.put(SETTLED[event.kind], event)

    def refused(self, event: OutcomeRefused) -> None:
        self.put(signals.task_lease_lost, event)

    def put(self, signal: Signal, event: Fact) -> None:
        """Send it soon, if anybody receives it."""
        if not signal.receivers:
            return
        try:
            self._queue.put_nowait((signal, event))
        except queue.Full:
            self._dropped += 1

    def run(self) -> None:
        while (item := self._queue.get()) is not None:
            close_old_connections()
            reset_queries()
            self._send(*item)
            self._report()
        connections.close_all()

    def _send(self, signal: Signal, event: Fact) -> None:
        about = f"{event.host}:{event.pid}" if isinstance(event, WorkerNews) else event.task
        for receiver, answer in signal.send_robust(sender=about, event=event):
            if isinstance(answer, Exception):
                name = getattr(receiver, "__qualname__", type(receiver).__name__)
                what = about if isinstance(event, WorkerNews) else f"task {about} {event.message_id}"
                logger.error("Receiver %s failed for %s.", name, what, exc_info=answer)

    def _report(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            logger.warning("%d signals were dropped: their receivers are slower than the tasks.", dropped)

    def finish(self) -> None:
        """Send what waits and end, within a few seconds."""
        try:
            self._queue.put(None, timeout=LAST_WORDS_S)
        except queue.Full:
            logger.warning("Signals are dropped at the end: their receivers are too slow.")
        else:
            self.join(LAST_WORDS_S)
