"""The Redis broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from django.conf import settings as django_settings
from dramatiq import Message
from dramatiq.middleware import Middleware

from django_cfg.errors import BrokerUnreachable, ConfigurationError, SessionLost
from django_cfg.redact import redact_url
from django_cfg.tasks import conf
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
from django_cfg.tasks.brokers.redis import dead, operate, producing, scripts, sessions, whereabouts, wire
from django_cfg.tasks.brokers.redis.link import packed
from django_cfg.tasks.brokers.redis.server import Server, text
from django_cfg.tasks.brokers.redis.sweep import sweep
from django_cfg.tasks.brokers.redis.waiter import RedisWaiter
from django_cfg.tasks.brokers.redis.warnings import eviction_policy, other_databases, server_warnings
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.events import task_settled

#: Wanted queues, time of the exchange in seconds, milliseconds until the next message was due then.
Hint = tuple[tuple[str, ...], float, int | None]
_in_turn = attrgetter("priority", "generation")
NOT_KNOWN: Hint = ((), 0.0, None)


class RedisBroker(EngineBroker):
    """Messages live in a Redis server (6.2 or newer, or Valkey) under `redis_key_prefix`."""

    def __init__(self, settings: TaskSettings, middleware: list[Middleware]) -> None:
        super().__init__(settings, middleware)
        self.server = Server(settings.broker_url, settings.redis_key_prefix, conf.project())
        self._due = threading.local()
        self._has_warned = False

    # -- producers -------------------------------------------------------------------------------------

    def store(self, batch: Sequence[FollowUp]) -> None:
        items = [wire.item(self, one, self.encode(one.message)) for one in batch]
        producing.publish(self.server, items)

    # -- sessions --------------------------------------------------------------------------------------

    def open_session(self, identity: ProcessIdentity) -> Session:
        self._warn_once()
        return sessions.open_session(self.server, identity, self.settings.lease_ms)

    def _warn_once(self) -> None:
        """Say what is wrong with the server; one process of a fleet that starts together says it."""
        if self._has_warned:
            return
        self._has_warned = True
        if self.server.call("SET", self.server.keys.warned, "1", "NX", "EX", 60):
            for warning in self.server_warnings():
                self.logger.warning("%s", warning)

    def server_warnings(self) -> list[str]:
        """What about the server puts tasks at risk."""
        return server_warnings(self.server)

    def refuse_to_start(self) -> None:
        try:
            policy = eviction_policy(self.server)
        except BrokerUnreachable:
            return  # worth waiting for
        if policy.startswith("allkeys-") and not django_settings.DEBUG:
            raise ConfigurationError(
                f"Redis at {redact_url(self.settings.broker_url)} has maxmemory-policy {policy!r}, which deletes tasks "
                "when memory is short. Set noeviction: redis-cli CONFIG SET maxmemory-policy noeviction, and in its "
                "configuration; or use a server that is no cache"
            )

    def close_session(self, session: Session) -> None:
        sessions.give_back(self.server, session, None)

    def renew(self, session: Session) -> frozenset[str]:
        return sessions.renew(self.server, session)

    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        sessions.give_back(self.server, session, set(message_ids))

    # -- exchange --------------------------------------------------------------------------------------

    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        settled = wire.settlement(self, outcomes, want)
        began = time.monotonic()
        answer = sessions.exchange(self.server, session, seq, settled, want)
        if answer is None:
            raise SessionLost(f"session {session.id} has ended; its claims went to other workers")
        reply, texts = wire.read_reply(answer)
        claims = self._read(session, reply, texts)
        next_due_ms = None if reply.next_due_ms < 0 else reply.next_due_ms
        self._due.hint = (want.queues, began, next_due_ms)
        return Answer(
            claims,
            frozenset(reply.refused),
            frozenset(reply.revoked),
            frozenset(reply.paused),
            next_due_ms,
            unfit=len(texts) - len(claims),
        )

    def _read(self, session: Session, reply: wire.Reply, texts: list[bytes]) -> tuple[Claim, ...]:
        """The claims; what nobody can read becomes a dead letter, so that it harms nobody else."""
        claims, unread = [], []
        for message_id, fence, stored in zip(reply.ids, reply.fences, texts, strict=True):
            try:
                claims.append(wire.read_claim(self, message_id, fence, stored, reply.now_ms))
            except ValueError as error:
                unread.append((message_id, fence, str(error)))
        if unread:
            sessions.bury(self.server, session, unread)
        return tuple(sorted(claims, key=_in_turn))

    def sweep(self, identity: ProcessIdentity) -> int:
        taken, died = sweep(self.server, self, identity)
        queues = operate.known_queues(self.server)
        self.server.run(scripts.PROMOTE, [], queues, queues)
        for death in died:
            task_settled.emit(death)
        return taken

    # -- waiting ---------------------------------------------------------------------------------------

    def waiter(self) -> Waiter:
        return RedisWaiter(self.server, self._until_due, self._remind)

    def _until_due(self, queues: tuple[str, ...]) -> float | None:
        """Seconds until a message can run; known from this thread's last exchange, else asked."""
        known, began, next_due_ms = getattr(self._due, "hint", NOT_KNOWN)
        self._due.hint = NOT_KNOWN
        if known != queues:
            began = time.monotonic()
            next_due_ms = int(self.server.run(scripts.LOOK, [], queues, queues))
        if next_due_ms is None or next_due_ms < 0:
            return None
        return max(0.0, began + next_due_ms / 1000 - time.monotonic())

    def _remind(self, queue: str) -> None:
        self.server.run(scripts.REMIND, [], [queue], [queue])

    # -- results ---------------------------------------------------------------------------------------

    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        value, ttl_ms = wire.result_text(entry)
        self.server.call("SET", self.server.keys.result(message_id), value, "PX", ttl_ms)

    def load_result(self, message_id: str) -> tuple[bool, Any]:
        found = self.server.call("GET", self.server.keys.result(message_id))
        return (False, None) if found is None else (True, codec.loads(found))

    def holds(self, message_id: str) -> bool:
        return bool(self.server.call("HEXISTS", self.server.keys.messages, message_id))

    # -- groups ----------------------------------------------------------------------------------------

    def open_group(self, group_id: str, size: int, ttl_ms: int) -> bool:
        key = self.server.keys.group(group_id)
        is_new = bool(self.server.call("HSETNX", key, "size", size))
        self.server.call("PEXPIRE", key, ttl_ms)
        return is_new

    def arrive(self, group_id: str, member_id: str) -> bool:
        with self.server.lane() as lane:
            return bool(lane.link.run(scripts.ARRIVE, packed([self.server.keys.group(group_id)]), member_id.encode()))

    def find(self, message_id: str) -> Standing | None:
        return operate.find(self.server, message_id)

    # -- operators -------------------------------------------------------------------------------------

    def queue_stats(self) -> list[QueueStats]:
        return operate.queue_stats(self.server, self.queues)

    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        return operate.peek(self.server, queue, limit)

    def dead_letters(self, only: DeadFilter, limit: int = 100, after: str = "") -> list[DeadLetterInfo]:
        return dead.dead_letters(self.server, only, limit, after)

    def count_dead(self, only: DeadFilter) -> int:
        return dead.count_dead(self.server, only)

    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        return dead.retry_dead(self.server, self, only, spread_ms)

    def clear_dead(self, only: DeadFilter) -> int:
        return dead.clear_dead(self.server, only)

    def store_dead(self, messages: Sequence[Message[Any]], reason: str) -> None:
        items = [(*wire.item(self, FollowUp(one), self.encode(one)), wire.info(reason, "")) for one in messages]
        queues = list(dict.fromkeys(item[1] for item in items))
        asked = [(message_id, queue, rank, end, note) for message_id, queue, rank, _, end, note in items]
        self.server.run(scripts.BURY_NEW, [], queues, (queues, asked))

    def cancel_stored(self, message_id: str) -> bool:
        return operate.cancel(self.server, message_id)

    def pause(self, queue: str) -> None:
        self.server.call("SADD", self.server.keys.paused, queue)

    def paused_queues(self) -> frozenset[str]:
        return frozenset(text(name) for name in self.server.call("SMEMBERS", self.server.keys.paused))

    def sessions(self) -> list[SessionInfo]:
        return whereabouts.sessions(self.server)

    def whereabouts(self, message_id: str) -> Whereabouts | None:
        return whereabouts.find(self.server, message_id)

    def clock_ms(self) -> float | None:
        return whereabouts.now_ms(self.server)

    def elsewhere(self) -> list[str]:
        return [f"database {number}" for number in other_databases(self.server)]

    def ping(self) -> None:
        self.server.call("PING")

    def resume(self, queue: str) -> None:
        operate.resume(self.server, queue)

    def flush(self, queue_name: str) -> None:
        operate.flush(self.server, queue_name)

    def flush_all(self) -> None:
        operate.flush_all(self.server)

    def close(self) -> None:
        self.server.close()
