"""The thread that writes records, in batches and beside the work."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import getpid
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connections, reset_queries, transaction
from django.db.models import F
from dramatiq import Actor

from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.models import Attempt, EngineState, ErrorGroup, TaskRecord
from django_cfg.tasks.records import rollups
from django_cfg.tasks.records.policy import Policy
from django_cfg.tasks.records.rollups import Tally
from django_cfg.tasks.records.rows import ADDED, COLUMNS, KEPT, Row, Rows, Seen, is_cancelled, order_of
from django_cfg.tasks.records.running import Running, TaskLog, listen, running
from django_cfg.tasks.records.stats import DROPPED
from django_cfg.tasks.records.upsert import count_errors, upsert

logger = logging.getLogger(__name__)
LATENCY_S = 0.1
#: Bounds of what waits to be written: events, and characters of their messages and tracebacks.
MOST_WAITING = 20_000
MOST_TEXT = 64 * 1024 * 1024
#: One transaction's worth.
MOST_AT_ONCE = 1_000
SLOWEST_BACKOFF_S = 5.0
#: Between two writes of the rollups of a process that has much to do.
ROLLUP_S = 1.0


class Recorder(threading.Thread):
    """Takes events without making anybody wait. A database in trouble costs records, counted, and no task.

    Parameters:
        alias: the database of the records.
        actors: the declared tasks, for the names of their arguments.
    """

    def __init__(self, policy: Policy, alias: str, actors: Mapping[str, Actor[Any, Any]]) -> None:
        super().__init__(name="recorder", daemon=True)
        self._policy = policy
        self._alias = alias
        self._actors = actors
        self._waiting: deque[Seen] = deque()
        self._text = 0
        self._dropped = 0
        self._tallies: dict[tuple[int, str, str], Tally] = {}
        self._tallies_lock = threading.Lock()
        self._rolled_up = time.monotonic()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._log = TaskLog()

    @cached_property
    def _rows(self) -> Rows:
        worker = f"{socket.gethostname()}:{getpid()}"
        return Rows(self._actors, worker, connections[self._alias].ops.adapt_datetimefield_value)

    # -- called by other threads -----------------------------------------------------------------------

    def count(self, outcomes: Sequence[Any]) -> Sequence[Any]:
        """Count the tasks of which nothing else is kept; returns the others, for `put`."""
        if self._policy is not Policy.FAILURES:
            return outcomes
        plain, rest = sifted(outcomes)
        minute = int(time.time() // 60)
        with self._tallies_lock:
            for task, done in plain.items():
                waits, runs = [outcome.wait_ms for outcome in done], [outcome.run_ms for outcome in done]
                self._tally(minute, *task).count_plain(waits, runs)
        self._wake_up()
        return rest

    def put(self, event: TaskSettled) -> None:
        """A claim has ended."""
        seen = Seen(event, time.time(), running.pop(event.message_id, None))
        size = len(event.body) + len(event.traceback)
        if not self._may_be_wanted(seen):
            with self._tallies_lock:
                self._count(seen)  # of most tasks nothing else is kept, so they do not wait for the thread
        elif len(self._waiting) >= MOST_WAITING or self._text + size > MOST_TEXT:
            self._dropped += 1
            with self._tallies_lock:
                self._count(seen)
        else:
            self._text += size
            self._waiting.append(seen)
        self._wake_up()

    def forget(self, message_id: str) -> None:
        """The claim was lost: whatever ends it is no news."""
        running.pop(message_id, None)

    def _wake_up(self) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def finish(self, timeout_s: float = 5.0) -> None:
        """Write what is left and end."""
        self._stopping.set()
        self._wake.set()
        if self.ident is not None:
            self.join(timeout_s)
        if self._waiting:
            logger.warning("The database is slow or away; %d task records are lost.", len(self._waiting))

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        logging.getLogger().addHandler(self._log)
        listen(self._wake_up)
        try:
            self._keep_writing()
        finally:
            listen(None)
            logging.getLogger().removeHandler(self._log)
            connections.close_all()

    def _keep_writing(self) -> None:
        backoff_s = LATENCY_S
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            reset_queries()  # with DEBUG they would be kept
            if len(self._waiting) < MOST_AT_ONCE or backoff_s > LATENCY_S:
                self._stopping.wait(backoff_s)
            backoff_s = LATENCY_S if self._turn() else min(backoff_s * 2, SLOWEST_BACKOFF_S)
            if running or self._waiting or self._tallies:
                self._wake.set()
        while self._turn(is_last=True) and self._waiting:
            pass

    def _turn(self, *, is_last: bool = False) -> bool:
        """Write what there is; False if the database did not take it, and it is to be tried again."""
        batch = [self._waiting[i] for i in range(min(len(self._waiting), MOST_AT_ONCE))]
        try:
            self._write(batch)
        except (OperationalError, InterfaceError, InternalError) as error:
            logger.warning("%d task records wait, the database does not answer: %s", len(batch), error)
            connections[self._alias].close()
            return False
        except Exception:
            logger.exception("A batch of %d task records was refused; trying one by one.", len(batch))
            self._write_singly(batch)
        self._forget(batch)
        return self._roll_up(is_due=is_last)

    def _forget(self, batch: list[Seen]) -> None:
        with self._tallies_lock:
            for seen in batch:
                self._waiting.popleft()
                self._text -= len(seen.event.body) + len(seen.event.traceback)
                self._count(seen)

    def _count(self, seen: Seen) -> None:
        event = seen.event
        if event.kind is Kind.RELEASED or not event.started:
            return
        self._tally(int(seen.at // 60), event.queue, event.task).count(event)

    def _tally(self, minute: int, queue: str, task: str) -> Tally:
        key = (minute, queue, task)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        return tally

    def _roll_up(self, *, is_due: bool) -> bool:
        now = time.monotonic()
        if not is_due and now < self._rolled_up + ROLLUP_S:
            return True
        with self._tallies_lock:
            tallies, self._tallies = self._tallies, {}
            dropped, self._dropped = self._dropped, 0
        try:
            with transaction.atomic(using=self._alias):
                rollups.write(tallies, self._alias)
                self._note_dropped(dropped)
        except Exception:
            logger.exception("The rollups of %d tasks wait for the next turn.", len(tallies))
            connections[self._alias].close()
            self._put_back(tallies, dropped)
            return False
        self._rolled_up = now
        return True

    def _put_back(self, tallies: dict[tuple[int, str, str], Tally], dropped: int) -> None:
        with self._tallies_lock:
            self._dropped += dropped
            for key, tally in tallies.items():
                self._tallies.setdefault(key, Tally()).add(tally)

    def _note_dropped(self, count: int) -> None:
        if not count:
            return
        text = "%d task records were dropped: too many waited, or the database refused them. Rollups have them."
        logger.warning(text, count)
        states = EngineState.objects.using(self._alias)
        states.get_or_create(name=DROPPED)
        states.filter(name=DROPPED).update(value=F("value") + count)

    # -- writing ---------------------------------------------------------------------------------------

    def _write(self, batch: list[Seen]) -> None:
        tasks = [task for task in list(running.values()) if self._is_news(task)]
        wanted = [seen for seen in batch if self._is_wanted(seen)]
        if not wanted and not tasks:
            return
        now = time.time()
        rows = [self._rows.running(task, now) for task in tasks]
        with transaction.atomic(using=self._alias):
            write(self._alias, self._rows, wanted, rows)
        for task in tasks:
            task.writes += 1

    def _is_news(self, task: Running) -> bool:
        """Progress is recorded under every policy; that a task runs, where all are recorded and it takes a while."""
        if task.progress is not task.reported:
            task.reported = task.progress
            return True
        is_new = task.writes == 0 and self._policy is Policy.ALL
        return is_new and time.time() - task.began > LATENCY_S

    def _is_wanted(self, seen: Seen) -> bool:
        event, was_shown = seen.event, seen.running is not None and seen.running.writes > 0
        if event.kind is Kind.RELEASED and not is_cancelled(event):
            return was_shown
        if event.kind in (Kind.RETRY, Kind.DEAD) or self._policy is not Policy.FAILURES:
            return True
        # A success, or a cancellation, closes the record that a failure, progress or an earlier life opened.
        return event.retries > 0 or event.deliveries > 0 or was_shown or '"revived"' in event.body

    def _may_be_wanted(self, seen: Seen) -> bool:
        """What any thread can tell: the progress of this task may be on its way into the database right now."""
        return self._is_wanted(seen) or (seen.running is not None and seen.running.progress is not None)

    def _write_singly(self, batch: list[Seen]) -> None:
        for seen in batch:
            try:
                with transaction.atomic(using=self._alias):
                    write(self._alias, self._rows, [seen] if self._is_wanted(seen) else [], [])
            except Exception:
                logger.exception("The record of %s cannot be written.", seen.event.message_id)
                self._dropped += 1


def sifted(outcomes: Sequence[Any]) -> tuple[dict[tuple[str, str], list[Any]], list[Any]]:
    """Outcomes of which nothing but success can be told, by queue and task, and the others.

    Nothing but success can be told of a first attempt of which no record was opened. Every task that a worker runs
    comes through here, so it is one loop without calls.
    """
    plain: dict[tuple[str, str], list[Any]] = {}
    rest, done, nobody_speaks = [], Kind.DONE, not running
    for outcome in outcomes:
        claim = outcome.claim
        message = claim.message
        if (
            outcome.kind is done
            and outcome.started
            and not (outcome.retries_before or claim.deliveries)
            and (nobody_speaks or message.message_id not in running)
            and "revived" not in message.options
        ):
            task = message.queue_name, message.actor_name
            if task in plain:
                plain[task].append(outcome)
            else:
                plain[task] = [outcome]
        else:
            rest.append(outcome)
    return plain, rest


def write(alias: str, rows: Rows, batch: list[Seen], more: list[Row]) -> None:
    """Records, failed attempts and groups of failures, in the caller's transaction."""
    records = more + [rows.record(*last) for last in newest(batch)]
    records.sort(key=lambda row: str(row[0]))  # one order for all writers, so that none waits in a circle
    upsert(alias, TaskRecord._meta.db_table, COLUMNS, records, key="message_id", added=ADDED, kept=KEPT)
    failed = [seen for seen in batch if seen.event.error_type]
    if failed:
        Attempt.objects.using(alias).bulk_create(map(rows.attempt, failed), ignore_conflicts=True, batch_size=100)
        _count_errors(alias, rows, failed)


def newest(batch: list[Seen]) -> list[tuple[Seen, float]]:
    """The last event of each task in a batch, with the waits of all attempts of its generation."""
    last: dict[str, tuple[Seen, float]] = {}
    for seen in batch:
        event = seen.event
        before = last.get(event.message_id)
        if before is None:
            last[event.message_id] = seen, event.wait_ms
            continue
        other, waited = before
        if other.event.generation == event.generation:
            waited += event.wait_ms
        else:
            waited = max(before, (seen, event.wait_ms), key=lambda item: item[0].event.generation)[1]
        last[event.message_id] = max(other, seen, key=_order), waited
    return list(last.values())


def _order(seen: Seen) -> tuple[int, int]:
    return order_of(seen.event)


ERROR_COLUMNS = (
    *("fingerprint", "task", "queue", "error_type", "place", "error"),
    *("seen", "first_seen", "last_seen", "newest_message_id"),
)


def _count_errors(alias: str, rows: Rows, failed: list[Seen]) -> None:
    groups: dict[str, list[Seen]] = {}
    for seen in failed:
        if seen.event.fingerprint:
            groups.setdefault(seen.event.fingerprint, []).append(seen)
    values = [_group(rows, *item) for item in sorted(groups.items())]
    count_errors(alias, ErrorGroup._meta.db_table, ERROR_COLUMNS, values)


def _group(rows: Rows, fingerprint: str, members: list[Seen]) -> Row:
    last = members[-1].event
    return (
        *(fingerprint, last.task, last.queue, last.error_type[:200], last.place[:300], last.error),
        *(len(members), rows.moment(members[0].at), rows.moment(members[-1].at), last.message_id),
    )
