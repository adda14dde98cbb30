"""What RabbitMQ cannot keep stands in a database: long delays, dead letters, cancellations, pauses, deaths, results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple, TypeVar

from django.db import DataError, InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models import Count, F

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.brokers.contract import ResultEntry
from django_cfg.tasks.brokers.database.dialect import dialect_of
from django_cfg.tasks.brokers.database.results import DatabaseResults
from django_cfg.tasks.brokers.endings import cancelled
from django_cfg.tasks.brokers.rabbitmq.note import Note, Parcel
from django_cfg.tasks.models import Cancellation, DeadLetter, PausedQueue, QueueMessage, Redelivery
from django_cfg.tasks.models.queue_message import MessageState
from django_cfg.units import days_to_ms

T = TypeVar("T")
CHUNK = 200
#: Orders and counts of messages that never came again.
KEEP_DAYS = 30


class Orders(NamedTuple):
    """What operators want at this moment."""

    cancelled: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()


class Death(NamedTuple):
    """A message that will not run again."""

    message_id: str
    queue: str
    task: str
    body: str
    note: Note
    deliveries: int
    reason: str
    error: str = ""


class Ledger:
    """Tables of one database alias; results may stand on another."""

    def __init__(self, alias: str, results_alias: str) -> None:
        self.alias = alias
        self.results = DatabaseResults(results_alias)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One step. An error closes the connection, so the next try starts anew.

        Raises:
            BrokerUnreachable: the database does not answer.
            ValueError: it cannot hold what was given.
        """
        connection = connections[self.alias]
        try:
            with transaction.atomic(using=self.alias):
                yield
        except (OperationalError, InterfaceError, InternalError) as error:
            if not connection.in_atomic_block:
                connection.close()
            raise BrokerUnreachable(f"database {self.alias!r}: {error}") from error
        except DataError as error:
            raise ValueError(f"database {self.alias!r} cannot hold this: {error}") from error

    @cached_property
    def _now(self) -> str:
        return dialect_of(connections[self.alias].vendor, self.alias).now

    def now_ms(self) -> int:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"SELECT {self._now}")
            return int(cursor.fetchone()[0])

    # -- endings ---------------------------------------------------------------------------------------

    def bury(self, deaths: Sequence[Death]) -> None:
        """Store dead letters; an older one of the same id gives way."""
        for chunk in chunks(deaths):
            with self.transaction():
                now, letters = self.now_ms(), DeadLetter.objects.using(self.alias)
                letters.filter(message_id__in=[death.message_id for death in chunk]).delete()
                letters.bulk_create([_letter(death, now) for death in chunk])

    def put_results(self, entries: Sequence[tuple[str, ResultEntry]]) -> None:
        if entries:
            with self.transaction():
                self.results.put(entries)

    # -- long delays -----------------------------------------------------------------------------------

    def schedule(self, parcels: Sequence[Parcel]) -> None:
        """Keep messages until they are due; an id that already waits here is left alone."""
        for chunk in chunks(parcels):
            with self.transaction():
                now = self.now_ms()
                rows = [_scheduled(parcel, now) for parcel in chunk]
                QueueMessage.objects.using(self.alias).bulk_create(rows, ignore_conflicts=True)

    def promote(self, publish: Callable[[Sequence[Parcel]], None]) -> int:
        """Publish what is due and delete it then; nobody else takes the same rows meanwhile."""
        promoted = 0
        while rows := self._promote_some(publish):
            promoted += rows
            if rows < CHUNK:
                break
        return promoted

    def _promote_some(self, publish: Callable[[Sequence[Parcel]], None]) -> int:
        waiting = QueueMessage.objects.using(self.alias).filter(state=MessageState.SCHEDULED)
        now = self.now_ms()
        if not waiting.filter(due_at__lte=now).exists():
            return 0
        with self.transaction():
            due = waiting.filter(due_at__lte=now).order_by("due_at")
            rows = list(due.select_for_update(skip_locked=self._skips_locked)[:CHUNK])
            publish([_parcel(row) for row in rows])
            waiting.filter(id__in=[row.id for row in rows]).delete()
        return len(rows)

    @property
    def _skips_locked(self) -> bool:
        return connections[self.alias].features.has_select_for_update_skip_locked

    def scheduled_counts(self) -> dict[str, int]:
        waiting = QueueMessage.objects.using(self.alias).filter(state=MessageState.SCHEDULED)
        return dict(waiting.values_list("queue").order_by().annotate(n=Count("id")))

    def dead_counts(self) -> dict[str, int]:
        return dict(DeadLetter.objects.using(self.alias).values_list("queue").order_by().annotate(n=Count("id")))

    # -- operators -------------------------------------------------------------------------------------

    def orders(self) -> Orders:
        with self.transaction():
            orders = Cancellation.objects.using(self.alias).values_list("message_id", flat=True)
            paused = PausedQueue.objects.using(self.alias).values_list("queue", flat=True)
            return Orders(frozenset(orders), frozenset(paused))

    def cancel(self, message_id: str) -> None:
        """Drop a long delay at once; anything else when a worker gets it."""
        with self.transaction():
            waiting = QueueMessage.objects.using(self.alias).filter(state=MessageState.SCHEDULED)
            row = waiting.filter(message_id=message_id).first()
            if row is not None and waiting.filter(id=row.id).delete()[0]:
                self.results.put([(message_id, cancelled(row.body))])
                return
            order = Cancellation(message_id=message_id, asked_at=self.now_ms())
            Cancellation.objects.using(self.alias).bulk_create([order], ignore_conflicts=True)

    def carry_out(self, bodies: Mapping[str, str]) -> None:
        """These were dropped as ordered; what they were by their ids."""
        with self.transaction():
            self.results.put([(message_id, cancelled(body)) for message_id, body in bodies.items()])
            self.forget_orders(list(bodies))

    def forget_orders(self, message_ids: Sequence[str]) -> None:
        Cancellation.objects.using(self.alias).filter(message_id__in=message_ids).delete()

    # -- deaths ----------------------------------------------------------------------------------------

    def came_again(self, message_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Count one more delivery of each; returns for each how often it came again and how often a worker died."""
        self._count(message_ids, "seen")
        found = Redelivery.objects.using(self.alias).filter(message_id__in=message_ids)
        return {row.message_id: (row.seen, row.deaths) for row in found}

    def excuse(self, message_ids: Sequence[str]) -> None:
        """The next redelivery of these is no worker's death."""
        self._count(message_ids, "excused")

    def begin_runs(self, message_ids: Sequence[str]) -> None:
        """These suspects run now: if nobody says how that ended, their process died of it."""
        self._count(message_ids, "runs")

    def end_runs(self, message_ids: Sequence[str]) -> None:
        """The runs of these suspects ended, and their process lives."""
        self._count(message_ids, "runs", -1)

    def _count(self, message_ids: Sequence[str], field: str, by: int = 1) -> None:
        # Always in one order, so that two workers with the same messages do not wait for each other.
        for chunk in chunks(sorted(set(message_ids))):
            with self.transaction():
                now, rows = self.now_ms(), Redelivery.objects.using(self.alias)
                new = [Redelivery(message_id=message_id, noted_at=now) for message_id in chunk]
                rows.bulk_create(new, ignore_conflicts=True)
                rows.filter(message_id__in=chunk).update(**{field: F(field) + by, "noted_at": now})

    def forget_deaths(self, message_ids: Sequence[str]) -> None:
        """These have ended; their counts are of no use any more."""
        with self.transaction():
            Redelivery.objects.using(self.alias).filter(message_id__in=message_ids).delete()

    # -- order -----------------------------------------------------------------------------------------

    def purge(self) -> None:
        """Delete what nobody will ask for."""
        with self.transaction():
            old = self.now_ms() - days_to_ms(KEEP_DAYS)
            Cancellation.objects.using(self.alias).filter(asked_at__lt=old).delete()
            Redelivery.objects.using(self.alias).filter(noted_at__lt=old).delete()
            self.results.purge()

    def clear(self) -> None:
        for table in (QueueMessage, DeadLetter, Cancellation, Redelivery, PausedQueue):
            table._default_manager.using(self.alias).all().delete()
        self.results.clear()


def chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))


def _letter(death: Death, now: int) -> DeadLetter:
    return DeadLetter(
        message_id=death.message_id,
        queue=death.queue,
        task=death.task,
        priority=death.note.priority,
        body=death.body,
        enqueued_at=death.note.enqueued_ms,
        died_at=now,
        generation=death.note.enqueued_ms,
        deliveries=death.deliveries,
        reason=death.reason,
        error=death.error,
    )


def _scheduled(parcel: Parcel, now: int) -> QueueMessage:
    return QueueMessage(
        message_id=parcel.message_id,
        queue=parcel.queue,
        task=parcel.task,
        priority=parcel.note.priority,
        state=MessageState.SCHEDULED,
        body=parcel.body,
        enqueued_at=parcel.note.enqueued_ms,
        due_at=now + parcel.delay_ms,
        generation=parcel.note.enqueued_ms,
        is_retry=parcel.is_retry,
        fence=parcel.note.fence,
    )


def _parcel(row: QueueMessage) -> Parcel:
    note = Note(row.enqueued_at, row.due_at, row.priority, row.fence)
    return Parcel(row.message_id, row.task, row.queue, 0, note, row.body, row.is_retry)
