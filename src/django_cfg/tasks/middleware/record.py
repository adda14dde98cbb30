"""Records of tasks, written in batches beside the work by a thread of their own."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from os import getpid
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from django_cfg.tasks.events import TaskSettled, task_settled
from django_cfg.tasks.lifecycle import AFTER, Kind
from django_cfg.tasks.models import Attempt, TaskRecord

logger = logging.getLogger(__name__)
ALIAS = "default"
BUFFER = 10_000
BATCH = 200
LATENCY_S = 0.1
RANK = {Kind.RELEASED: 0, Kind.RETRY: 1, Kind.DEAD: 2, Kind.DONE: 2}


class Record(Middleware):
    """Keeps a record of every task, or only of those that failed.

    Parameters:
        everything: record successes too.
    """

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self._workers: set[int] = set()
        self._finish: Callable[[], None] = _nothing

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """One recorder a process, however many workers a test runs in it."""
        if not self._workers:
            self._finish = _start_recorder(self.everything)
        self._workers.add(id(worker))

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._workers.discard(id(worker))
        if not self._workers:
            self._finish()
            self._finish = _nothing


def _start_recorder(everything: bool) -> Callable[[], None]:
    """Record from now on; returns the way to finish."""
    recorder = Recorder(everything=everything)
    recorder.start()
    unsubscribe = task_settled.subscribe(recorder.put)

    def finish() -> None:
        unsubscribe()
        recorder.finish()

    return finish


def _nothing() -> None:
    """What there is to finish before a worker has started."""


class Recorder(threading.Thread):
    """Takes events from worker threads without making them wait; a database in trouble costs records, no task."""

    def __init__(self, *, everything: bool) -> None:
        super().__init__(name="recorder", daemon=True)
        self._everything = everything
        self._events: queue.Queue[TaskSettled | None] = queue.Queue(BUFFER)
        self._dropped = 0
        self._worker = f"{socket.gethostname()}:{getpid()}"

    def put(self, event: TaskSettled) -> None:
        if event.kind is Kind.RELEASED or (event.kind is Kind.DONE and not self._is_wanted(event)):
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def _is_wanted(self, event: TaskSettled) -> bool:
        # A success after failures closes a record that the failures opened.
        return self._everything or event.retries > 0

    def run(self) -> None:
        while (first := self._events.get()) is not None:
            batch, is_last = self._gather(first)
            self._write(batch)
            if is_last:
                break
        connections.close_all()

    def _gather(self, first: TaskSettled) -> tuple[list[TaskSettled], bool]:
        batch, deadline = [first], time.monotonic() + LATENCY_S
        while len(batch) < BATCH:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if event is None:
                return batch, True
            batch.append(event)
        return batch, False

    def _write(self, batch: Sequence[TaskSettled]) -> None:
        try:
            with transaction.atomic(using=ALIAS):
                write(batch, self._worker)
        except (DatabaseError, InterfaceError):
            logger.exception("%d task records were not written.", len(batch))
            connections[ALIAS].close()
        if self._dropped:
            logger.warning("%d task records were dropped: the record buffer was full.", self._dropped)
            self._dropped = 0

    def finish(self, timeout_s: float = 5.0) -> None:
        """Write what is left and end."""
        try:
            self._events.put(None, timeout=timeout_s)
        except queue.Full:
            logger.warning("The record buffer is full and the database is slow; its records are lost.")
        else:
            self.join(timeout_s)


def write(batch: Sequence[TaskSettled], worker: str) -> None:
    """Upsert the records and add the failed attempts."""
    newest: dict[str, TaskSettled] = {}
    for event in sorted(batch, key=_order):
        before = newest.get(event.message_id)
        newest[event.message_id] = event if before is None else _after(before, event)
    rows = iter(newest.values())
    while chunk := list(islice(rows, 50)):
        _upsert(chunk, worker)
    failed = [_attempt(event, worker) for event in batch if event.error_type]
    Attempt.objects.using(ALIAS).bulk_create(failed, ignore_conflicts=True)


def _after(before: TaskSettled, event: TaskSettled) -> TaskSettled:
    """The later event of one task, with the waits of all its attempts."""
    if before.generation != event.generation:
        return event
    return replace(event, wait_ms=before.wait_ms + event.wait_ms)


def _order(event: TaskSettled) -> tuple[int, int]:
    return event.generation, event.fence * 10 + RANK[event.kind]


def _upsert(events: Sequence[TaskSettled], worker: str) -> None:
    """A write applies only if it is newer than what stands there, whatever order the writers arrive in."""
    table = TaskRecord._meta.db_table
    row = f"({', '.join(['%s'] * len(COLUMNS))})"
    updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:] if name != "wait_ms")
    updates += (
        f", wait_ms = excluded.wait_ms + CASE WHEN {table}.generation = excluded.generation "
        f"THEN {table}.wait_ms ELSE 0 END"
    )
    sql = (
        f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES {', '.join([row] * len(events))} "
        f"ON CONFLICT (message_id) DO UPDATE SET {updates} WHERE {table}.generation < excluded.generation "
        f"OR ({table}.generation = excluded.generation AND {table}.order_key < excluded.order_key)"
    )
    connection = connections[ALIAS]
    with connection.cursor() as cursor:
        cursor.execute(sql, [value for event in events for value in _values(event, worker, connection)])


COLUMNS = (
    "message_id",
    "task",
    "queue",
    "state",
    "attempts",
    "retries",
    "wait_ms",
    "run_ms",
    "enqueued_at",
    "finished_at",
    "worker",
    "reason",
    "error",
    "generation",
    "order_key",
)


def _values(event: TaskSettled, worker: str, connection: Any) -> tuple[Any, ...]:
    adapt = connection.ops.adapt_datetimefield_value
    attempts = event.retries + (0 if event.kind is Kind.RETRY else 1)
    finished = None if event.kind is Kind.RETRY else adapt(datetime.now(UTC))
    return (
        event.message_id,
        event.task,
        event.queue,
        AFTER[event.kind].value,
        attempts,
        event.retries,
        event.wait_ms,
        event.run_ms,
        adapt(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=event.enqueued_at_ms)),
        finished,
        worker,
        event.reason[:200],
        event.error,
        event.generation,
        _order(event)[1],
    )


def _attempt(event: TaskSettled, worker: str) -> Attempt:
    return Attempt(
        message_id=event.message_id,
        generation=event.generation,
        fence=event.fence,
        ended_as=event.kind.value,
        error_type=event.error_type[:200],
        error=event.error,
        traceback=event.traceback,
        wait_ms=event.wait_ms,
        run_ms=event.run_ms,
        ended_at=datetime.now(UTC),
        worker=worker,
    )
