"""The database broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    InternalError,
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
    SessionInfo,
    Standing,
    Waiter,
    Want,
    Whereabouts,
)
from django_cfg.tasks.brokers.database import at_once, operate, whereabouts
from django_cfg.tasks.brokers.database.claim import Glance, claim_rows, drop, glance, look, promote, read_claims
from django_cfg.tasks.brokers.database.dialect import dialect_of
from django_cfg.tasks.brokers.database.prepared import PreparedCursor, may_prepare
from django_cfg.tasks.brokers.database.results import DatabaseResults
from django_cfg.tasks.brokers.database.settle import Ending, Row, accepted, insert, is_one_step, settle, take_cancelled
from django_cfg.tasks.brokers.database.statements import Statements
from django_cfg.tasks.brokers.database.sweep import Swept, sweep
from django_cfg.tasks.brokers.database.transactions import Cursor, transacting, undisturbed
from django_cfg.tasks.brokers.database.waiters import PollingWaiter, PostgresWaiter, SqliteWaiter
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.events import task_settled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.models import DeadLetter, PausedQueue, QueueMessage
from django_cfg.tasks.models.queue_message import MessageState

T = TypeVar("T")


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


def _by_key(outcomes: Sequence[Outcome], keys: Iterable[int]) -> frozenset[str]:
    """The message ids of these outcomes' claims."""
    wanted = set(keys)
    return frozenset(o.claim.message_id for o in outcomes if o.claim.key in wanted)


#: A connection that broke, or that leads to a server on which nothing can be written: after a failover to the old one,
#: and then for as long as it stays open.
OF_NO_USE = (OperationalError, InterfaceError, InternalError)
#: With 64 a send waits 2 ms for a busy worker, and 60 at worst; with 2048 it was 20 and 600, for half again the drain.
MOST_UNDER_LOCK = 64


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
        self.alias = self.transaction_alias = alias
        self.results = DatabaseResults(results_alias or alias)
        #: No pooler stands between a worker and PostgreSQL; a waiter finds out.
        self.is_direct = False

    @cached_property
    def sql(self) -> Statements:
        return Statements(dialect_of(connections[self.alias].vendor, self.alias))

    @cached_property
    def most_at_once(self) -> int:  # type: ignore[override]
        """Fewer where an exchange takes the one lock of a file, for which web requests wait."""
        return MOST_UNDER_LOCK if self.sql.dialect.one_host else EngineBroker.most_at_once

    # -- producers -------------------------------------------------------------------------------------

    def store(self, batch: Sequence[FollowUp]) -> None:
        rows = [(m, self.encode(m.message), self.priority_for(m.message)) for m in batch]
        connection = connections[self.alias]
        if not rows:
            return
        if connection.in_atomic_block:
            with connection.cursor() as cursor:
                insert(Cursor(cursor), self.sql, rows, notify=False)
            self._announce_at_commit()
            return
        with self._producing():
            undisturbed(lambda: self._insert(rows))

    def _insert(self, rows: Sequence[Row]) -> None:
        # One statement is a transaction of its own; only several need one around them.
        step = self._in_one_step if is_one_step(self.sql, rows) else self._in_transaction
        step(lambda cursor: insert(cursor, self.sql, rows, notify=True))

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
                cursor.execute(f"SELECT {self.sql.notify}")

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
        except (*OF_NO_USE, ProgrammingError) as error:
            if self._lacks_tables():
                raise BrokerError(no_tables(self.alias)) from error
            if self._usable():
                if isinstance(error, InternalError):
                    connection.close()
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

    def _transact(self, work: Callable[[Cursor], T]) -> T:
        """Do this in one transaction. An error closes the connection, so the next try starts anew."""
        with self._engine_errors():
            return self._undisturbed(lambda: self._in_transaction(work))

    def _single(self, work: Callable[[Cursor], T]) -> T:
        """Do this one statement, which is a transaction of its own, and prepared where that is possible."""
        connection = connections[self.alias]
        with self._engine_errors():
            if self.is_direct and may_prepare(connection):
                return self._undisturbed(lambda: work(PreparedCursor(connection)))
            return self._undisturbed(lambda: self._in_one_step(work))

    def _in_transaction(self, work: Callable[[Cursor], T]) -> T:
        with transacting(self.alias, self.sql.dialect) as cursor:
            return work(cursor)

    def _in_one_step(self, work: Callable[[Cursor], T]) -> T:
        with connections[self.alias].cursor() as cursor:
            return work(Cursor(cursor))

    def _undisturbed(self, work: Callable[[], T]) -> T:
        return work() if connections[self.alias].in_atomic_block else undisturbed(work)

    @contextmanager
    def _engine_errors(self) -> Iterator[None]:
        connection = connections[self.alias]
        try:
            yield
        except OF_NO_USE as error:
            if not connection.in_atomic_block:
                connection.close()
            raise BrokerUnreachable(f"database {self.alias!r}: {error}") from error
        except DataError as error:
            raise ValueError(f"database {self.alias!r} cannot hold this: {error}") from error

    def open_session(self, identity: ProcessIdentity) -> Session:
        lease_ms = self.settings.lease_ms
        who = [identity.host_id, identity.host, identity.pid, identity.process_started]

        def insert_session(cursor: Cursor) -> int:
            cursor.execute(self.sql.open_session, [*who, lease_ms, lease_ms])
            return int(cursor.fetchone()[0]) if self.sql.dialect.has_returning else cursor.new_id

        return Session(self._transact(insert_session), lease_ms)

    def close_session(self, session: Session) -> None:
        def close(cursor: Cursor) -> None:
            cursor.later(self.sql.drop_session, [session.id])
            cursor.later(self.sql.give_back_all, [session.id])
            self._wake_others(cursor)

        self._transact(close)

    def renew(self, session: Session) -> frozenset[str]:
        def touch(cursor: Cursor) -> frozenset[str]:
            self._touch(cursor, session)
            cursor.execute(self.sql.held_ids, [session.id])
            return frozenset(row[0] for row in cursor.fetchall())

        return self._transact(touch)

    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        ids = list(message_ids)

        def give_back(cursor: Cursor) -> None:
            cursor.later(self.sql.give_back(len(ids)), [session.id, *ids])
            self._wake_others(cursor)

        if ids:
            self._transact(give_back)

    def _touch(self, cursor: Cursor, session: Session) -> None:
        """Renew the lease."""
        cursor.execute(self.sql.touch_session, [session.id])
        if cursor.rowcount == 0:
            raise SessionLost(f"session {session.id} has ended; its claims went to other workers")

    # -- exchange --------------------------------------------------------------------------------------

    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        if any(o.claim.key == 0 for o in outcomes):
            outcomes = self._with_keys(session, outcomes)
        if self.sql.dialect.at_once and self.results.alias == self.alias and at_once.is_simple(outcomes):
            reply = self._single(lambda cursor: at_once.exchange(cursor, self.sql, session.id, seq, outcomes, want))
            if reply is not None:
                return self._answer(session, seq, outcomes, want, reply)
        return self._transact(lambda cursor: self._exchange(cursor, session, seq, outcomes, want))

    def _with_keys(self, session: Session, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes of claims that somebody else received, and who noted no keys: those of a process that died."""
        held = QueueMessage.objects.using(self.alias).filter(session=session.id)
        with self._reading():
            keys = dict(held.values_list("message_id", "id"))
        return [replace(o, claim=replace(o.claim, key=keys.get(o.claim.message_id, 0))) for o in outcomes]

    def _answer(
        self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want, reply: at_once.Reply
    ) -> Answer:
        rows = reply.rows
        if reply.next_due_ms is not None and reply.next_due_ms <= 0:
            open_queues = tuple(queue for queue in want.queues if queue not in reply.paused)
            more = replace(want, count=want.count - len(rows), queues=open_queues, suspect=False)
            rows = rows + self._transact(lambda cursor: self._claim_due(cursor, session, seq, more))
        claims, unfit = read_claims(self, rows)
        if unfit:  # not in the statement that claimed them: should we die here, a renewal finds them
            self._transact(lambda cursor: self._keep_results(cursor, drop(cursor, self.sql, unfit)))
        refused = _by_key(outcomes, reply.refused)
        revoked, paused = frozenset(reply.revoked), frozenset(reply.paused)
        return Answer(claims, refused, revoked, paused, reply.next_due_ms, len(unfit))

    def _claim_due(self, cursor: Cursor, session: Session, seq: int, want: Want) -> list[Any]:
        """Make ready what has become due, and claim what there is still room for."""
        self._touch(cursor, session)
        promote(cursor, self.sql, want.queues)
        return claim_rows(cursor, self.sql, session.id, seq, want)

    def _exchange(self, cursor: Cursor, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        cursor.execute(self.sql.advance_session, [seq, session.id, seq])
        if cursor.rowcount == 0:
            return self._stored_answer(cursor, session, seq, outcomes)
        queues = want.queues if want.count > 0 else ()
        seen = glance(cursor, self.sql, session.id, queues, [o.claim.key for o in outcomes])
        refused = self._settle(cursor, session, outcomes, seen)
        if seen.next_due_ms is not None and seen.next_due_ms <= 0:
            promote(cursor, self.sql, queues)
        open_queues = tuple(queue for queue in queues if queue not in seen.paused)
        wanted = replace(want, queues=open_queues, suspect=want.suspect and bool(seen.suspect))
        claims, unfit = self._read(cursor, claim_rows(cursor, self.sql, session.id, seq, wanted))
        return Answer(claims, refused, frozenset(seen.revoked), frozenset(seen.paused), seen.next_due_ms, unfit)

    def _stored_answer(self, cursor: Cursor, session: Session, seq: int, outcomes: Sequence[Outcome]) -> Answer:
        """The answer to an exchange whose reply was lost: what it claimed is still claimed under its number."""
        self._touch(cursor, session)
        cursor.execute(self.sql.refused_last, [session.id])
        refused = _by_key(outcomes, json.loads(cursor.fetchone()[0]))
        cursor.execute(self.sql.claims_of, [session.id, seq])
        rows = sorted(cursor.fetchall(), key=lambda row: (row[2], row[0]))
        claims, unfit = self._read(cursor, rows)
        return Answer(claims, refused, unfit=unfit)

    def _read(self, cursor: Cursor, rows: list[Any]) -> tuple[tuple[Claim, ...], int]:
        """The claims that somebody can run, and how many others are gone now."""
        claims, unfit = read_claims(self, rows)
        self._keep_results(cursor, drop(cursor, self.sql, unfit))
        return claims, len(unfit)

    def _settle(self, cursor: Cursor, session: Session, outcomes: Sequence[Outcome], seen: Glance) -> frozenset[str]:
        """Apply what is ours; returns the ids whose outcome came with an old fence."""
        kept = accepted(outcomes, seen.held)
        settle(cursor, self.sql, kept)
        if any(o.kind is Kind.RELEASED for o in kept):
            self._wake_others(cursor)
        born = [item for o in kept for item in o.follow_ups]
        if born:
            encoded = [(i, codec.encode(i.message), self.priority_for(i.message)) for i in born]
            insert(cursor, self.sql, encoded, notify=True)
        self._keep_results(cursor, [(o.claim.message_id, o.result) for o in kept if o.result is not None])
        self._drop_cancelled(cursor, kept, seen.revoked)
        refused = sorted({o.claim.key for o in outcomes} - {o.claim.key for o in kept})
        if refused:
            cursor.later(self.sql.note_refused, [json.dumps(refused), session.id])
        return _by_key(outcomes, refused)

    def _wake_others(self, cursor: Cursor) -> None:
        """What goes back is for workers that sleep; where nothing can call them they look by themselves."""
        if self.sql.dialect.at_once:
            cursor.later(f"SELECT {self.sql.notify}")

    def _drop_cancelled(self, cursor: Cursor, kept: Sequence[Outcome], revoked: set[str]) -> None:
        """What is given back after an operator cancelled it is gone. A later word is obeyed at the next claim."""
        gone = [o.claim.message_id for o in kept if o.kind is Kind.RELEASED and o.claim.message_id in revoked]
        self._keep_results(cursor, [take_cancelled(cursor, self.sql, message_id) for message_id in gone])

    def _keep_results(self, cursor: Cursor, endings: Sequence[Ending]) -> None:
        self.results.put(endings, cursor if self.results.alias == self.alias else None)

    def sweep(self, identity: ProcessIdentity) -> int:
        def take_lost(cursor: Cursor) -> Swept:
            swept = sweep(cursor, self.sql, self, identity)
            self._keep_results(cursor, swept.endings)
            if swept.taken:
                self._wake_others(cursor)
            return swept

        swept = self._transact(take_lost)
        self._transact(lambda cursor: self.results.purge())
        for death in swept.died:
            task_settled.emit(death)
        return swept.taken

    # -- waiting ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        vendor = self.sql.dialect.vendor
        if vendor == "sqlite":
            return SqliteWaiter(self._data_version, self._look)
        if vendor == "postgresql":
            return PostgresWaiter(self.alias, self._look, self._note_direct)
        return PollingWaiter(self._look)

    def _note_direct(self, is_direct: bool) -> None:
        self.is_direct = is_direct

    def _look(self, queues: tuple[str, ...]) -> tuple[bool, int | None]:
        """Whether something of these queues is ready, and when the next is due; writes nothing."""
        with self._reading(), connections[self.alias].cursor() as cursor:
            found = look(Cursor(cursor), self.sql, queues)
        return found.has_work, found.next_due_ms

    def _data_version(self) -> int:
        """SQLite's count of commits by other connections."""
        with self._reading(), connections[self.alias].cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OF_NO_USE as error:
            connections[self.alias].close()
            raise BrokerUnreachable(f"database {self.alias!r}: {error}") from error

    # -- results ---------------------------------------------------------------------------------------

    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        self.results.put([(message_id, entry)])

    def load_result(self, message_id: str) -> tuple[bool, Any]:
        return self.results.get(message_id)

    def holds(self, message_id: str) -> bool:
        return QueueMessage.objects.using(self.alias).filter(message_id=message_id).exists()

    def find(self, message_id: str) -> Standing | None:
        return operate.find(self.alias, message_id)

    # -- operators -------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"SELECT {self.sql.now}")
            return int(cursor.fetchone()[0])

    def queue_stats(self) -> list[QueueStats]:
        return operate.queue_stats(self.alias, self.queues, self._now_ms())

    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        return operate.peek(self.alias, queue, limit)

    def dead_letters(self, only: DeadFilter, limit: int = 100, after: str = "") -> list[DeadLetterInfo]:
        return operate.dead_letters(self.alias, only, limit, self._now_ms(), after)

    def count_dead(self, only: DeadFilter) -> int:
        return self._dead(only).count()

    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        return operate.retry_dead(self, self.results, self._dead(only), spread_ms)

    def clear_dead(self, only: DeadFilter) -> int:
        return operate.clear_dead(self._dead(only))

    def _dead(self, only: DeadFilter) -> QuerySet[DeadLetter]:
        return operate.matching(self.alias, only, self._now_ms())

    def store_dead(self, messages: Sequence[Message[Any]], reason: str) -> None:
        operate.store_dead(self, self.alias, messages, reason, self._now_ms())

    def cancel_stored(self, message_id: str) -> bool:
        def take_or_mark(cursor: Cursor) -> bool:
            cursor.execute(self.sql.state_of, [message_id])
            row = cursor.fetchone()
            if row is None:
                return False
            if row[0] == MessageState.CLAIMED:
                cursor.later(self.sql.mark_cancelled, [message_id])
                return False
            self._keep_results(cursor, [take_cancelled(cursor, self.sql, message_id)])
            return True

        return self._transact(take_or_mark)

    def pause(self, queue: str) -> None:
        operate.pause(self.alias, queue, self._now_ms())

    def resume(self, queue: str) -> None:
        operate.resume(self.alias, queue)

    def paused_queues(self) -> frozenset[str]:
        with self._reading():
            return frozenset(PausedQueue.objects.using(self.alias).values_list("queue", flat=True))

    def sessions(self) -> list[SessionInfo]:
        with self._reading():
            return whereabouts.sessions(self.alias, self._now_ms())

    def whereabouts(self, message_id: str) -> Whereabouts | None:
        with self._reading():
            return whereabouts.find(self.alias, message_id, self._now_ms())

    def clock_ms(self) -> float | None:
        with self._reading():
            return self._now_ms()

    def ping(self) -> None:
        with self._reading(), connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

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
