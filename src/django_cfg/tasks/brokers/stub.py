"""A broker in memory: the whole contract in one process, for tests. Everything is gone with the process."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramatiq import Message
from dramatiq.middleware import Middleware

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers import codec, paging
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.collector import fresh
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
from django_cfg.tasks.brokers.endings import cancelled, died_with_its_process, ended_badly, lost_for_good
from django_cfg.tasks.brokers.prepare import claimable
from django_cfg.tasks.brokers.process import is_gone
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.events import task_settled
from django_cfg.tasks.lifecycle import Kind, State


@dataclass
class _Entry:
    position: int
    message: Message[Any]
    body: str
    priority: int
    enqueued_at: float
    due_at: float
    is_retry: bool = False
    generation: int = 1
    fence: int = 0
    deliveries: int = 0
    session: int | None = None
    claimed_at: float = 0.0
    cancelled: bool = False


@dataclass
class _Session:
    identity: ProcessIdentity
    lease_until: float
    last_seq: int = 0
    last_answer: Answer = field(default_factory=Answer)


@dataclass
class _Group:
    size: int
    expires: float
    arrived: list[str] = field(default_factory=list)


@dataclass
class _Dead:
    entry: _Entry
    reason: str
    error: str
    died_at: float


class StubBroker(EngineBroker):
    """In-memory broker.

    Attributes:
        clock: seconds; tests may replace it to travel in time.
    """

    def __init__(self, settings: TaskSettings, middleware: list[Middleware]) -> None:
        super().__init__(settings, middleware)
        self.clock: Callable[[], float] = time.monotonic
        self._changed = threading.Condition(threading.RLock())
        self._positions = itertools.count(1)
        self._sessions: dict[int, _Session] = {}
        self._live: dict[str, _Entry] = {}
        self._dead: dict[str, _Dead] = {}
        self._results: dict[str, tuple[float, str]] = {}
        self._paused: set[str] = set()
        self._groups: dict[str, _Group] = {}

    # -- producers -------------------------------------------------------------------------------------

    def store(self, batch: Sequence[FollowUp]) -> None:
        encoded = [(item, self.encode(item.message)) for item in batch]
        with self._changed:
            for item, body in encoded:
                self._insert(item, body)
            self._changed.notify_all()

    def _insert(self, item: FollowUp, body: str) -> None:
        message = item.message
        if message.message_id in self._live:
            return
        self._dead.pop(message.message_id, None)
        now = self.clock()
        position = next(self._positions)
        self._live[message.message_id] = _Entry(
            position=position,
            message=message,
            body=body,
            priority=self.priority_for(message),
            enqueued_at=now,
            due_at=now + item.delay_ms / 1000,
            generation=position,
        )

    # -- sessions --------------------------------------------------------------------------------------

    def open_session(self, identity: ProcessIdentity) -> Session:
        with self._changed:
            number = next(self._positions)
            self._sessions[number] = _Session(identity, self.clock() + self.settings.lease_ms / 1000)
            return Session(number, self.settings.lease_ms)

    def close_session(self, session: Session) -> None:
        with self._changed:
            self._sessions.pop(session.id, None)
            for entry in self._held_by(session.id):
                self._give_back(entry)

    def renew(self, session: Session) -> frozenset[str]:
        with self._changed:
            self._live_session(session)
            return frozenset(e.message.message_id for e in self._held_by(session.id))

    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        wanted = set(message_ids)
        with self._changed:
            for entry in self._held_by(session.id):
                if entry.message.message_id in wanted:
                    self._give_back(entry)

    def sweep(self, identity: ProcessIdentity) -> int:
        with self._changed:
            lost = [n for n, s in self._sessions.items() if self._is_lost(s, identity)]
            taken = [entry for number in lost for entry in self._held_by(number)]
            for number in lost:
                del self._sessions[number]
            for entry in taken:
                self._count_delivery(entry)
            return len(taken)

    def _is_lost(self, session: _Session, mine: ProcessIdentity) -> bool:
        return session.lease_until < self.clock() or is_gone(session.identity, mine)

    def _count_delivery(self, entry: _Entry) -> None:
        entry.deliveries += 1
        if entry.deliveries >= self.max_deliveries_of(entry.message.actor_name):
            self._lose(entry, died_with_its_process(entry.deliveries))
        else:
            self._give_back(entry)

    def _lose(self, entry: _Entry, reason: str) -> None:
        message = entry.message
        self._bury(entry, reason, "")
        self.store_result(message.message_id, ended_badly(reason))
        where = (message.queue_name, entry.generation, entry.fence, round(entry.enqueued_at * 1000))
        task_settled.emit(lost_for_good(message.message_id, message.actor_name, reason, *where))

    def _live_session(self, session: Session) -> _Session:
        known = self._sessions.get(session.id)
        if known is None:
            raise SessionLost(f"session {session.id} has ended")
        known.lease_until = self.clock() + self.settings.lease_ms / 1000
        return known

    def _held_by(self, number: int) -> list[_Entry]:
        return [e for e in self._live.values() if e.session == number]

    # -- exchange --------------------------------------------------------------------------------------

    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        with self._changed:
            known = self._live_session(session)
            if seq <= known.last_seq:
                return known.last_answer
            refused = frozenset(o.claim.message_id for o in outcomes if not self._settle(session, o))
            claims = tuple(self._claim(session, want))
            revoked = frozenset(e.message.message_id for e in self._held_by(session.id) if e.cancelled)
            answer = Answer(claims, refused, revoked, frozenset(self._paused), self._next_due_ms(want))
            known.last_seq, known.last_answer = seq, answer
            self._changed.notify_all()
            return answer

    def _settle(self, session: Session, outcome: Outcome) -> bool:
        entry = self._live.get(outcome.claim.message_id)
        if entry is None or entry.session != session.id or entry.fence != outcome.claim.fence:
            return False
        for item in outcome.follow_ups:
            self._insert(item, codec.encode(item.message))
        if outcome.result is not None:
            self.store_result(entry.message.message_id, outcome.result)
        match outcome.kind:
            case Kind.DONE:
                del self._live[entry.message.message_id]
            case Kind.RELEASED:
                self._give_back(entry)
            case Kind.RETRY:
                entry.message, entry.body = outcome.message, codec.encode(outcome.message)
                entry.session, entry.is_retry = None, True
                entry.due_at = self.clock() + outcome.delay_ms / 1000
            case Kind.DEAD:
                entry.message = outcome.message
                self._bury(entry, outcome.reason, outcome.failure.text if outcome.failure else "")
        return True

    def _claim(self, session: Session, want: Want) -> list[Claim]:
        """A fair share of each queue, at most one suspect; best priority first."""
        ready = sorted(self._ready(want), key=lambda e: (e.priority, e.position))
        suspects = [e for e in ready if e.deliveries][: int(want.suspect)]
        calm = [[e for e in ready if e.message.queue_name == q and not e.deliveries] for q in want.queues]
        in_turn = [e for rank in itertools.zip_longest(*calm) for e in rank if e is not None]
        taken = [*suspects, *in_turn][: max(0, want.count)]
        return [self._hand_out(e, session) for e in sorted(taken, key=lambda e: (e.priority, e.position))]

    def _ready(self, want: Want) -> Iterable[_Entry]:
        now = self.clock()
        queues = set(want.queues) - self._paused
        return (
            e for e in self._live.values() if e.session is None and e.due_at <= now and e.message.queue_name in queues
        )

    def _hand_out(self, entry: _Entry, session: Session) -> Claim:
        entry.session = session.id
        entry.claimed_at = time.time()  # for people: the clock counts from the start of the host
        entry.fence += 1
        return Claim(
            message=claimable(self, codec.decode(entry.body)),
            fence=entry.fence,
            deliveries=entry.deliveries,
            generation=entry.generation,
            priority=entry.priority,
            enqueued_at_ms=round(entry.enqueued_at * 1000),
            waited_ms=max(0.0, self.clock() - entry.due_at) * 1000,
            age_ms=(self.clock() - entry.enqueued_at) * 1000,
            body=entry.body,
        )

    def _next_due_ms(self, want: Want) -> int | None:
        now, queues = self.clock(), set(want.queues) - self._paused
        due = [
            e.due_at
            for e in self._live.values()
            if e.session is None and e.due_at > now and e.message.queue_name in queues
        ]
        return round((min(due) - now) * 1000) if due else None

    def _give_back(self, entry: _Entry) -> None:
        entry.session = None
        if entry.cancelled:
            self._finish_cancelled(entry)
        self._changed.notify_all()

    def _bury(self, entry: _Entry, reason: str, error: str) -> None:
        self._live.pop(entry.message.message_id, None)
        self._dead[entry.message.message_id] = _Dead(entry, reason, error, self.clock())

    # -- results ---------------------------------------------------------------------------------------

    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        with self._changed:
            self._results[message_id] = (self.clock() + entry.ttl_ms / 1000, entry.text)

    def load_result(self, message_id: str) -> tuple[bool, Any]:
        with self._changed:
            expires, body = self._results.get(message_id, (0.0, ""))
            if expires <= self.clock():
                return False, None
            return True, codec.loads(body)

    def holds(self, message_id: str) -> bool:
        with self._changed:
            return message_id in self._live

    # -- groups ----------------------------------------------------------------------------------------

    def open_group(self, group_id: str, size: int, ttl_ms: int) -> bool:
        with self._changed:
            is_new = group_id not in self._groups
            self._groups.setdefault(group_id, _Group(size, self.clock() + ttl_ms / 1000))
            return is_new

    def arrive(self, group_id: str, member_id: str) -> bool:
        with self._changed:
            group = self._groups.get(group_id)
            if group is None or group.expires < self.clock():
                return False
            if member_id not in group.arrived:
                group.arrived.append(member_id)
            return group.arrived[group.size - 1 : group.size] == [member_id]

    def find(self, message_id: str) -> Standing | None:
        with self._changed:
            entry = self._live.get(message_id)
            if entry is None:
                return None
            message = codec.decode(entry.body)
            if entry.session is None:
                return Standing(message, self._waits_as(entry), entry.deliveries)
            holder = self._sessions[entry.session].identity
            claimed_at_ms = round(entry.claimed_at * 1000)
            return Standing(message, State.RUNNING, entry.deliveries, claimed_at_ms, f"{holder.host}:{holder.pid}")

    def _waits_as(self, entry: _Entry) -> State:
        if entry.due_at <= self.clock():
            return State.PENDING
        return State.RETRYING if entry.is_retry else State.SCHEDULED

    # -- operators -------------------------------------------------------------------------------------

    def queue_stats(self) -> list[QueueStats]:
        with self._changed:
            names = {e.message.queue_name for e in self._live.values()} | set(self.queues)
            names |= {d.entry.message.queue_name for d in self._dead.values()}
            return [self._stats_of(name) for name in sorted(names)]

    def _stats_of(self, name: str) -> QueueStats:
        now = self.clock()
        mine = [e for e in self._live.values() if e.message.queue_name == name]
        waiting = [e for e in mine if e.session is None]
        ready = [e for e in waiting if e.due_at <= now]
        later = [e for e in waiting if e.due_at > now]
        return QueueStats(
            queue=name,
            pending=len(ready),
            scheduled=sum(not e.is_retry for e in later),
            running=len(mine) - len(waiting),
            retrying=sum(e.is_retry for e in later),
            dead=sum(d.entry.message.queue_name == name for d in self._dead.values()),
            oldest_pending_age_s=max((now - e.due_at for e in ready), default=None),
        )

    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        with self._changed:
            ready = self._ready(Want(limit, (queue,)))
            return [e.message for e in heapq.nsmallest(limit, ready, key=lambda e: (e.priority, e.position))]

    def dead_letters(self, only: DeadFilter, limit: int = 100, after: str = "") -> list[DeadLetterInfo]:
        with self._changed:
            found = [_info(d, self.clock()) for d in reversed(self._matching(only))]
            return list(itertools.islice(paging.behind(found, after), limit))

    def count_dead(self, only: DeadFilter) -> int:
        with self._changed:
            return len(self._matching(only))

    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        with self._changed:
            dead = self._matching(only)
            for letter in dead:
                again = fresh(letter.entry.message)
                self._results.pop(again.message_id, None)
                self._insert(FollowUp(again, random.randint(0, spread_ms)), codec.encode(again))
            self._changed.notify_all()
            return len(dead)

    def clear_dead(self, only: DeadFilter) -> int:
        with self._changed:
            dead = self._matching(only)
            for letter in dead:
                del self._dead[letter.entry.message.message_id]
            return len(dead)

    def _matching(self, only: DeadFilter) -> list[_Dead]:
        return [dead for dead in self._dead.values() if _is_meant(dead, only, self.clock() - dead.died_at)]

    def store_dead(self, messages: Sequence[Message[Any]], reason: str) -> None:
        with self._changed:
            for message in messages:
                if message.message_id not in self._live and message.message_id not in self._dead:
                    self._insert(FollowUp(message), self.encode(message))
                    self._bury(self._live[message.message_id], reason, "")

    def cancel_stored(self, message_id: str) -> bool:
        with self._changed:
            entry = self._live.get(message_id)
            if entry is None:
                return False
            if entry.session is not None:
                entry.cancelled = True
                return False
            self._finish_cancelled(entry)
            return True

    def _finish_cancelled(self, entry: _Entry) -> None:
        self._live.pop(entry.message.message_id, None)
        self.store_result(entry.message.message_id, cancelled(entry.body))

    def pause(self, queue: str) -> None:
        with self._changed:
            self._paused.add(queue)

    def resume(self, queue: str) -> None:
        with self._changed:
            self._paused.discard(queue)
            self._changed.notify_all()

    def paused_queues(self) -> frozenset[str]:
        with self._changed:
            return frozenset(self._paused)

    def ping(self) -> None:
        """Memory always answers."""

    def sessions(self) -> list[SessionInfo]:
        with self._changed:
            return [self._session_info(number) for number in self._sessions]

    def _session_info(self, number: int) -> SessionInfo:
        session = self._sessions[number]
        return SessionInfo(session.identity, session.lease_until - self.clock(), len(list(self._held_by(number))))

    def whereabouts(self, message_id: str) -> Whereabouts | None:
        with self._changed:
            entry = self._live.get(message_id)
            return None if entry is None else self._whereabouts(entry)

    def _whereabouts(self, entry: _Entry) -> Whereabouts:
        now, message = self.clock(), entry.message
        return Whereabouts(
            message_id=message.message_id,
            task=message.actor_name,
            queue=message.queue_name,
            state=self._waits_as(entry) if entry.session is None else State.RUNNING,
            age_s=now - entry.enqueued_at,
            due_in_s=max(0.0, entry.due_at - now),
            deliveries=entry.deliveries,
            session=None if entry.session is None else self._session_info(entry.session),
        )

    def flush(self, queue_name: str) -> None:
        with self._changed:
            self._live = {i: e for i, e in self._live.items() if e.message.queue_name != queue_name}

    def flush_all(self) -> None:
        with self._changed:
            self._live.clear()
            self._dead.clear()
            self._results.clear()
            self._groups.clear()

    def waiter(self) -> Waiter:
        return _StubWaiter(self._changed, self._look)

    def _look(self, queues: tuple[str, ...]) -> tuple[bool, int | None]:
        """Whether something is ready, and the milliseconds until the next is due."""
        want = Want(1, queues)
        return any(True for _ in self._ready(want)), self._next_due_ms(want)


class _StubWaiter:
    def __init__(
        self, changed: threading.Condition, look: Callable[[tuple[str, ...]], tuple[bool, int | None]]
    ) -> None:
        self._changed = changed
        self._look = look
        self._woken = False

    def begin(self) -> None:
        """Nothing to find out."""

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._woken:
                is_ready, next_due_ms = self._look(queues)
                left_s = deadline - time.monotonic()
                if is_ready or left_s <= 0:
                    break
                until_due_s = left_s if next_due_ms is None else next_due_ms / 1000
                self._changed.wait(min(left_s, until_due_s) + 0.001)
            self._woken = False

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing to give back."""


def _is_meant(dead: _Dead, only: DeadFilter, age_s: float) -> bool:
    message = dead.entry.message
    return (
        (only.queue is None or message.queue_name == only.queue)
        and (only.task is None or message.actor_name == only.task)
        and (not only.message_ids or message.message_id in only.message_ids)
        and (only.older_than_s is None or age_s >= only.older_than_s)
        and (only.newer_than_s is None or age_s <= only.newer_than_s)
        and (only.error is None or only.error.lower() in f"{dead.reason}\n{dead.error}".lower())
    )


def _info(dead: _Dead, now: float) -> DeadLetterInfo:
    message = dead.entry.message
    return DeadLetterInfo(
        message_id=message.message_id,
        task=message.actor_name,
        queue=message.queue_name,
        reason=dead.reason,
        error=dead.error,
        attempts=len(message.options.get("errors", [])) or dead.entry.fence,
        age_s=now - dead.died_at,
        cursor=paging.cursor(int(dead.died_at * 1000), message.message_id),
        message=message,
        deliveries=dead.entry.deliveries,
    )
