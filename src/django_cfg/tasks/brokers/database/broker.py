"""The database broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
    transaction,
)
from django.db.models import QuerySet
from dramatiq import Message
from dramatiq.middleware import Middleware

from django_cfg.errors import BrokerError, BrokerUnreachable, ConfigurationError, EnqueueUnknown, SessionLost
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    Answer,
    Claim,
    DeadFilter,
    DeadLetterInfo,
    FollowUp,
    Outcome,
    ProcessIdentity,
    QueueStats,
    ResultEntry,
    Session,
    Waiter,
    Want,
)
from django_cfg.tasks.brokers.database import operate
from django_cfg.tasks.brokers.database.claim import claim_rows, glance, promote, read_claims
from django_cfg.tasks.brokers.database.dialect import dialect_of
from django_cfg.tasks.brokers.database.results import DatabaseResults
from django_cfg.tasks.brokers.database.settle import insert, settle, take_cancelled
from django_cfg.tasks.brokers.database.statements import CHANNEL, Statements
from django_cfg.tasks.brokers.database.sweep import sweep
from django_cfg.tasks.brokers.database.waiters import PollingWaiter, PostgresWaiter, SqliteWaiter
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.events import task_settled
from django_cfg.tasks.models import DeadLetter, QueueMessage
from django_cfg.tasks.models.queue_message import MessageState


def has_tables(alias: str) -> bool:
    """Whether the tables of the queue exist.

    Raises:
        DatabaseError: the database does not answer.
    """
    return QueueMessage._meta.db_table in connections[alias].introspection.table_names()


def no_tables(alias: str) -> str:
    """What to say, and how to cure it, when they do not."""
    where = "" if alias == "default" else f" --database {alias}"
    return f"database {alias!r} has no tables for tasks; run: python manage.py migrate{where}"


def _refuse_unknown(option: str, alias: str) -> None:
    if alias not in connections:
        known = ", ".join(connections)
        raise ConfigurationError(
            f"{option} names the database {alias!r}, which DATABASES does not have; known: {known}"
        )


class DatabaseBroker(EngineBroker):
    """Messages are rows of a Django database. `.send()` is part of the caller's transaction on that database.

    Parameters:
        alias: the Django database; from `broker_url="database://ALIAS"`.
        results_alias: where results are kept; None: beside the messages.
    """

    is_transactional = True
    supports_async_send = False

    def __init__(
        self,
        settings: TaskSettings,
        middleware: list[Middleware],
        alias: str = "default",
        results_alias: str | None = None,
    ) -> None:
        super().__init__(settings, middleware)
        _refuse_unknown("broker_url", alias)
        _refuse_unknown("result_backend", results_alias or alias)
        self.alias = alias
        self.results = DatabaseResults(results_alias or alias)

    @cached_property
    def sql(self) -> Statements:
        return Statements(dialect_of(connections[self.alias].vendor, self.alias))

    # -- producers -------------------------------------------------------------------------------------

    def store(self, batch: Sequence[FollowUp]) -> None:
        rows = [(m, self.encode(m.message), self.priority_of(m.message.actor_name)) for m in batch]
        connection = connections[self.alias]
        if not rows:
            return
        if connection.in_atomic_block:
            with connection.cursor() as cursor:
                insert(cursor, self.sql, rows, notify=False)
            self._announce_at_commit()
            return
        # One statement is a transaction of its own; only several need one around them.
        whole = nullcontext() if self.sql.dialect.has_arrays else transaction.atomic(using=self.alias)
        with self._producing(), whole, connection.cursor() as cursor:
            insert(cursor, self.sql, rows, notify=True)

    def _announce_at_commit(self) -> None:
        """One wake-up after commit: transactions that notify while they commit wait for each other."""
        connection = connections[self.alias]
        if connection.vendor != "postgresql" or any(entry[1] is self._announce for entry in connection.run_on_commit):
            return
        transaction.on_commit(self._announce, using=self.alias, robust=True)

    @cached_property
    def _announce(self) -> Callable[[], None]:
        def announce() -> None:
            with connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])

        return announce

    @contextmanager
    def _producing(self) -> Iterator[None]:
        connection = connections[self.alias]
        try:
            connection.ensure_connection()
        except (OperationalError, InterfaceError) as error:
            raise BrokerUnreachable(f"database {self.alias!r} does not answer: {error}") from error
        try:
            yield
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            if self._lacks_tables():
                raise BrokerError(no_tables(self.alias)) from error
            if self._usable():
                raise BrokerUnreachable(f"database {self.alias!r} refused the message: {error}") from error
            connection.close()
            raise EnqueueUnknown(
                f"the connection to database {self.alias!r} broke while a message was being stored; it may or "
                f"may not be there. Sending it again under the same message_id is safe. ({error})"
            ) from error

    def _lacks_tables(self) -> bool:
        return self._usable() and not has_tables(self.alias)

    def _usable(self) -> bool:
        connection = connections[self.alias]
        return connection.connection is not None and connection.is_usable()

    # -- sessions --------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """One transaction of the engine's own. An error closes the connection, so the next try starts anew."""
        connection = connections[self.alias]
        try:
            with transaction.atomic(using=self.alias), connection.cursor() as cursor:
                yield cursor
        except (OperationalError, InterfaceError) as error:
            if not connection.in_atomic_block:
                connection.close()
            raise BrokerUnreachable(f"database {self.alias!r}: {error}") from error
        except DataError as error:
            raise ValueError(f"database {self.alias!r} cannot hold this: {error}") from error

    def open_session(self, identity: ProcessIdentity) -> Session:
        lease_ms = self.settings.lease_ms
        who = [identity.host_id, identity.host, identity.pid, identity.process_started]
        with self._transaction() as cursor:
            cursor.execute(self.sql.open_session, [*who, lease_ms, lease_ms])
            return Session(cursor.fetchone()[0], lease_ms)

    def close_session(self, session: Session) -> None:
        with self._transaction() as cursor:
            cursor.execute(self.sql.drop_session, [session.id])
            cursor.execute(self.sql.give_back_all, [session.id])

    def renew(self, session: Session) -> frozenset[str]:
        with self._transaction() as cursor:
            self._touch(cursor, session)
            cursor.execute(self.sql.held_ids, [session.id])
            return frozenset(row[0] for row in cursor.fetchall())

    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        ids = list(message_ids)
        if ids:
            with self._transaction() as cursor:
                cursor.execute(self.sql.give_back(len(ids)), [session.id, *ids])

    def _touch(self, cursor: Any, session: Session) -> frozenset[str]:
        """Renew the lease; returns the ids whose outcomes were refused last."""
        cursor.execute(self.sql.touch_session, [session.id])
        row = cursor.fetchone()
        if row is None:
            raise SessionLost(f"session {session.id} has ended; its claims went to other workers")
        return frozenset(json.loads(row[0]))

    # -- exchange --------------------------------------------------------------------------------------

    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        with self._transaction() as cursor:
            cursor.execute(self.sql.advance_session, [seq, session.id, seq])
            if cursor.fetchone() is None:
                return self._stored_answer(cursor, session, seq)
            refused = self._settle(cursor, session, outcomes)
            if refused:
                cursor.execute(self.sql.note_refused, [json.dumps(sorted(refused)), session.id])
            return self._claim(cursor, session, seq, want, refused)

    def _claim(self, cursor: Any, session: Session, seq: int, want: Want, refused: frozenset[str]) -> Answer:
        queues = want.queues if want.count > 0 else ()
        seen = glance(cursor, self.sql, session.id, queues)
        if seen.next_due_ms is not None and seen.next_due_ms <= 0:
            seen = promote(cursor, self.sql, session.id, queues)
        open_queues = tuple(queue for queue in queues if queue not in seen.paused)
        wanted = replace(want, queues=open_queues, suspect=want.suspect and seen.has_suspect)
        claims = self._read(cursor, claim_rows(cursor, self.sql, session.id, seq, wanted))
        return Answer(claims, refused, seen.revoked, seen.paused, seen.next_due_ms)

    def _stored_answer(self, cursor: Any, session: Session, seq: int) -> Answer:
        """The answer to an exchange whose reply was lost: what it claimed is still claimed under its number."""
        refused = self._touch(cursor, session)
        cursor.execute(self.sql.claims_of, [session.id, seq])
        rows = sorted(cursor.fetchall(), key=lambda row: (row[2], row[0]))
        return Answer(self._read(cursor, rows), refused)

    def _read(self, cursor: Any, rows: list[Any]) -> tuple[Claim, ...]:
        claims, endings = read_claims(cursor, self.sql, self, rows)
        self.results.put(endings)
        return claims

    def _settle(self, cursor: Any, session: Session, outcomes: Sequence[Outcome]) -> frozenset[str]:
        refused = settle(cursor, self.sql, session.id, outcomes)
        kept = [o for o in outcomes if o.claim.message_id not in refused]
        born = [item for o in kept for item in o.follow_ups]
        if born:
            encoded = [(i, codec.encode(i.message), self.priority_of(i.message.actor_name)) for i in born]
            insert(cursor, self.sql, encoded, notify=True)
        self.results.put([(o.claim.message_id, o.result) for o in kept if o.result is not None])
        self._drop_cancelled(cursor, session, outcomes)
        return refused

    def _drop_cancelled(self, cursor: Any, session: Session, outcomes: Sequence[Outcome]) -> None:
        released = [o.claim.message_id for o in outcomes if o.kind == "released"]
        if not released:
            return
        cancelled = QueueMessage.objects.using(self.alias).filter(
            message_id__in=released, cancel_requested=True, session=None
        )
        gone = list(cancelled.values_list("message_id", flat=True))
        self.results.put([take_cancelled(cursor, self.sql, message_id) for message_id in gone])

    def sweep(self, identity: ProcessIdentity) -> int:
        with self._transaction() as cursor:
            swept = sweep(cursor, self.sql, self, identity)
            self.results.put(swept.endings)
            self.results.purge()
        for death in swept.died:
            task_settled.emit(death)
        return swept.taken

    # -- waiting ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        vendor = self.sql.dialect.vendor
        if vendor == "sqlite":
            return SqliteWaiter(self._data_version, self._look)
        if vendor == "postgresql":
            return PostgresWaiter(self.alias, self._look)
        return PollingWaiter(self._look)

    def _look(self, queues: tuple[str, ...]) -> tuple[bool, int | None]:
        """Whether something of these queues is ready, and when the next is due; writes nothing."""
        if not queues:
            return False, None
        with self._reading(), connections[self.alias].cursor() as cursor:
            cursor.execute(self.sql.has_work(len(queues)), [*queues, *queues])
            ready, next_due_ms = cursor.fetchone()
        return bool(ready), next_due_ms

    def _data_version(self) -> int:
        """SQLite's count of commits by other connections."""
        with self._reading(), connections[self.alias].cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            connections[self.alias].close()
            raise BrokerUnreachable(f"database {self.alias!r}: {error}") from error

    # -- results ---------------------------------------------------------------------------------------

    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        self.results.put([(message_id, entry)])

    def load_result(self, message_id: str) -> tuple[bool, Any]:
        return self.results.get(message_id)

    def holds(self, message_id: str) -> bool:
        return QueueMessage.objects.using(self.alias).filter(message_id=message_id).exists()

    # -- operators -------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"SELECT {self.sql.now}")
            return int(cursor.fetchone()[0])

    def queue_stats(self) -> list[QueueStats]:
        return operate.queue_stats(self.alias, self.queues, self._now_ms())

    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        return operate.peek(self.alias, queue, limit)

    def dead_letters(self, only: DeadFilter, limit: int = 100) -> list[DeadLetterInfo]:
        return operate.dead_letters(self.alias, only, limit, self._now_ms())

    def count_dead(self, only: DeadFilter) -> int:
        return self._dead(only).count()

    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        return operate.retry_dead(self, self.results, self._dead(only), spread_ms)

    def clear_dead(self, only: DeadFilter) -> int:
        return operate.clear_dead(self._dead(only))

    def _dead(self, only: DeadFilter) -> QuerySet[DeadLetter]:
        return operate.matching(self.alias, only, self._now_ms())

    def cancel(self, message_id: str) -> bool:
        mine = QueueMessage.objects.using(self.alias).select_for_update().filter(message_id=message_id)
        with self._transaction() as cursor:
            message = mine.first()
            if message is None:
                return False
            if message.state != MessageState.CLAIMED:
                self.results.put([take_cancelled(cursor, self.sql, message_id)])
                return True
            mine.update(cancel_requested=True)
            return False

    def pause(self, queue: str) -> None:
        operate.pause(self.alias, queue, self._now_ms())

    def resume(self, queue: str) -> None:
        operate.resume(self.alias, queue)

    def flush(self, queue_name: str) -> None:
        QueueMessage.objects.using(self.alias).filter(queue=queue_name).delete()

    def flush_all(self) -> None:
        QueueMessage.objects.using(self.alias).all().delete()
        self.clear_dead(DeadFilter(everything=True))
        self.results.clear()

    def close(self) -> None:
        try:
            connections[self.alias].close()
        except DatabaseError as error:
            self.logger.warning("Could not close the connection to %r: %s", self.alias, error)
