"""The RabbitMQ broker."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError
from dramatiq import Message
from dramatiq.middleware import Middleware
from pika import spec

from django_cfg.errors import BrokerError, BrokerUnreachable, ConfigurationError, EnqueueUnknown, SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    Answer,
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
    Whereabouts,
)
from django_cfg.tasks.brokers.database import operate as on_tables
from django_cfg.tasks.brokers.database import whereabouts
from django_cfg.tasks.brokers.database.broker import has_tables, no_tables
from django_cfg.tasks.brokers.process import is_gone
from django_cfg.tasks.brokers.rabbitmq import operate
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.tasks.brokers.rabbitmq.note import Parcel, parcel
from django_cfg.tasks.brokers.rabbitmq.session import RabbitSession
from django_cfg.tasks.brokers.rabbitmq.store import Store
from django_cfg.tasks.brokers.rabbitmq.waiter import RabbitWaiter
from django_cfg.tasks.conf import TaskSettings


class RabbitBroker(EngineBroker):
    """Messages live in quorum queues of a RabbitMQ server (3.10 or newer) under `rabbitmq_prefix`.

    What RabbitMQ cannot keep stands in a Django database: results, dead letters, delays above 15 minutes,
    cancellations and pauses. The flags below say what is weaker than on the other brokers;
    docs/guides/rabbitmq.md says it in words.

    Parameters:
        results_alias: the database of the results; everything else stands in `records_database`.
    """

    supports_async_send = False
    supports_peek = False
    supports_find = False
    counts_exactly = False
    sends_ahead = True
    settles_for_the_dead = False

    def __init__(self, settings: TaskSettings, middleware: list[Middleware], results_alias: str | None = None) -> None:
        super().__init__(settings, middleware)
        self.kept = Store(settings, results_alias)
        self._numbers = itertools.count(1)
        self._sessions: dict[int, RabbitSession] = {}

    def refuse_to_start(self) -> None:
        alias = self.kept.ledger.alias
        try:
            is_ready = has_tables(alias)
        except DatabaseError:
            return  # workers wait for a database that does not answer yet
        if not is_ready:
            raise ConfigurationError(no_tables(alias))

    # -- producers -------------------------------------------------------------------------------------

    def store(self, batch: Sequence[FollowUp]) -> None:
        self.kept.put(self._parcels(batch))

    def _parcels(self, batch: Sequence[FollowUp]) -> list[Parcel]:
        return [parcel(self, item, self.encode(item.message)) for item in batch]

    # -- sessions --------------------------------------------------------------------------------------

    def open_session(self, identity: ProcessIdentity) -> Session:
        session = RabbitSession(self, self.kept, next(self._numbers), identity)
        self._sessions[session.number] = self._local.session = session
        return Session(session.number, self.settings.lease_ms)

    def _session(self, session: Session) -> RabbitSession:
        try:
            return self._sessions[session.id]
        except KeyError:
            raise SessionLost(f"session {session.id} has ended; its claims went to other workers") from None

    def close_session(self, session: Session) -> None:
        ending = self._sessions.pop(session.id, None)
        if ending is not None:
            ending.close()

    def stop_sending(self, session: Session) -> None:
        with self._forgetting(session):
            self._session(session).stop()

    def renew(self, session: Session) -> frozenset[str]:
        with self._forgetting(session):
            return self._session(session).renew()

    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        self._session(session).give_back(message_ids)

    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        with self._forgetting(session):
            return self._session(session).exchange(seq, outcomes, want)

    @contextmanager
    def _forgetting(self, session: Session) -> Iterator[None]:
        """A session that is lost once is lost for good."""
        try:
            yield
        except SessionLost:
            self._sessions.pop(session.id, None)
            raise

    def sweep(self, identity: ProcessIdentity) -> int:
        gone = [session for session in list(self._sessions.values()) if is_gone(session.who, identity)]
        for session in gone:
            del self._sessions[session.number]
        taken = sum(session.close(is_a_death=True) for session in gone)
        try:
            self.kept.ledger.promote(self.kept.publisher.publish)
        except EnqueueUnknown as error:
            raise BrokerUnreachable(str(error)) from error
        operate.collect_thrown_out(self.kept.publisher, self.kept.ledger)
        self.kept.ledger.purge()
        return taken

    # -- waiting ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        return RabbitWaiter(self._link_of_this_thread)

    def _link_of_this_thread(self) -> Link | None:
        session: RabbitSession | None = getattr(self._local, "session", None)
        return session.link if session is not None and session.link.is_open else None

    # -- results ---------------------------------------------------------------------------------------

    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        self.kept.ledger.put_results([(message_id, entry)])

    def load_result(self, message_id: str) -> tuple[bool, Any]:
        return self.kept.ledger.results.get(message_id)

    def holds(self, message_id: str) -> bool:
        """RabbitMQ finds no message by its id."""
        raise BrokerError("RabbitMQ cannot say whether it holds a message; ask for its result or its record")

    # -- operators -------------------------------------------------------------------------------------

    def paused_queues(self) -> frozenset[str]:
        return self.kept.ledger.orders().paused

    def ping(self) -> None:
        with self.kept.publisher.link() as link:
            link.call(spec.Basic.Qos(0, 0, False), spec.Basic.QosOk)
        self.kept.ledger.orders()

    def whereabouts(self, message_id: str) -> Whereabouts | None:
        """Of a delay above 15 minutes; RabbitMQ finds no message by its id."""
        return whereabouts.find(self.kept.ledger.alias, message_id, self.kept.ledger.now_ms())

    def queue_stats(self) -> list[QueueStats]:
        return operate.queue_stats(self.kept.publisher, self.kept.ledger, {*self.queues, *self.kept.publisher.declared})

    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        """Looking would deliver."""
        raise BrokerError("RabbitMQ shows no message without delivering it; dead letters can be read")

    def dead_letters(self, only: DeadFilter, limit: int = 100, after: str = "") -> list[DeadLetterInfo]:
        return on_tables.dead_letters(self.kept.ledger.alias, only, limit, self.kept.ledger.now_ms(), after)

    def count_dead(self, only: DeadFilter) -> int:
        return on_tables.matching(self.kept.ledger.alias, only, self.kept.ledger.now_ms()).count()

    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        def publish(batch: Sequence[FollowUp]) -> None:
            self.kept.put(self._parcels(batch))

        self.kept.forget_orders()
        return operate.retry_dead(self.kept.ledger, publish, only, spread_ms)

    def clear_dead(self, only: DeadFilter) -> int:
        return on_tables.clear_dead(on_tables.matching(self.kept.ledger.alias, only, self.kept.ledger.now_ms()))

    def store_dead(self, messages: Sequence[Message[Any]], reason: str) -> None:
        on_tables.store_dead(self, self.kept.ledger.alias, messages, reason, self.kept.ledger.now_ms())

    def cancel_stored(self, message_id: str) -> bool:
        """Order that a message is dropped when a worker gets it. Always True: nobody knows whether it waits."""
        self.kept.ledger.cancel(message_id)
        self.kept.forget_orders()
        return True

    def pause(self, queue: str) -> None:
        on_tables.pause(self.kept.ledger.alias, queue, self.kept.ledger.now_ms())
        self.kept.forget_orders()

    def resume(self, queue: str) -> None:
        on_tables.resume(self.kept.ledger.alias, queue)
        self.kept.forget_orders()

    def flush(self, queue_name: str) -> None:
        operate.flush(self.kept.publisher, queue_name)

    def flush_all(self) -> None:
        """Delete the queues and exchanges of this project, and what the database keeps for them."""
        operate.remove(self.kept.publisher, {*self.queues, *self.kept.publisher.made, "default"})
        self.kept.ledger.clear()
        self.kept.forget_orders()

    def close(self) -> None:
        """End all connections; what sessions still held is delivered again."""
        self.kept.publisher.close()
        for session in list(self._sessions.values()):
            session.lose()
        self._sessions.clear()
