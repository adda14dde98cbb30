"""What all our brokers share: hook dispatch, validation, and the collector around a task's end."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from dramatiq import Actor, Broker, Message
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import Middleware, MiddlewareError

from django_cfg.errors import BrokerError, TasksDisabled
from django_cfg.tasks.brokers import codec, groups, options
from django_cfg.tasks.brokers.actor import adopt
from django_cfg.tasks.brokers.collector import Collector
from django_cfg.tasks.brokers.contract import (
    Answer,
    Claim,
    ClaimedMessage,
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
from django_cfg.tasks.brokers.hooks import AFTER, BEFORE, Hooks
from django_cfg.tasks.brokers.outbox.cancel import cancel as cancel_unpublished
from django_cfg.tasks.brokers.outbox.put import put
from django_cfg.tasks.brokers.telling import tell_enqueued
from django_cfg.tasks.brokers.transactions import open_transaction
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.middleware.groups import EngineGroupCallbacks

#: While these hooks run, what they enqueue becomes part of the outcome.
COLLECTED = frozenset({"process_message", "skip_message", "ack", "nack"})
BROKEN = "Hook %s of %r failed."
#: What a task may say to the engine itself; what else, the middleware defines.
OWN_OPTIONS = frozenset({"max_deliveries", "hard_time_limit_ms", "on_lost", "enqueue_on_commit"})


class EngineBroker(Broker):
    """A Dramatiq broker that keeps the promise: accepted means it runs or stands among the dead letters.

    Attributes:
        name: tells a broker beside the project's own apart, in an outbox; empty for the own one.
        is_transactional: enqueue takes part in the caller's database transaction.
        transaction_alias: the database whose transactions it takes part in; None: of none.
        supports_async_send: `.send()` may be called in async code.
        supports_find: a message that waits or runs can be looked up by its id. Without it `holds` raises, `cancel`
            notes an order and says True to every id, an id that still lives is accepted twice, and a task that
            returned None has no result.
        supports_peek, supports_priority, supports_cancel, supports_pause: what operators can do here.
        counts_exactly: it knows every number of `QueueStats` and when the next delayed message is due; without it
            `running` and `retrying` are None, and `scheduled` leaves out short delays.
        sends_ahead: messages come to a worker before it asks; what it gives back may come to it again.
        settles_for_the_dead: a session outlives its process, so another one can exchange in its name.
        most_at_once: how many messages an exchange settles, and a process holds ahead, at most. A task that does
            nothing takes some 25 µs of its process, so these last for an exchange of 50 ms.
        stands_in: for tests; while it is the project's, backends of Django tasks with a broker of their own use it too.
    """

    is_transactional = False
    transaction_alias: str | None = None
    supports_async_send = True
    supports_find = True
    supports_peek = True
    supports_priority = True
    supports_cancel = True
    supports_pause = True
    counts_exactly = True
    sends_ahead = False
    settles_for_the_dead = True
    most_at_once = 2048
    stands_in = False

    def __init__(self, settings: TaskSettings, middleware: list[Middleware]) -> None:
        self.settings = settings
        self._local = threading.local()
        self._hooks = Hooks(middleware)
        self._hard_limits: dict[str, float] = {}
        self._known_options: frozenset[str] = frozenset()
        self.spare_until = 0.0
        self.name = ""
        super().__init__(middleware=middleware)
        self.actor_options |= OWN_OPTIONS
        for one in self.middleware:
            if isinstance(one, EngineGroupCallbacks):
                one.bind(self)

    # -- the contract, one store each ------------------------------------------------------------------

    @abstractmethod
    def store(self, batch: Sequence[FollowUp]) -> None:
        """Store messages; when this returns they are accepted. An id that still lives is left alone."""

    def refuse_to_start(self) -> None:
        """Look, before workers start, for what would put tasks at risk.

        Raises:
            ConfigurationError: says what, and how to cure it.
        """

    @abstractmethod
    def open_session(self, identity: ProcessIdentity) -> Session:
        """Begin to hold claims."""

    @abstractmethod
    def close_session(self, session: Session) -> None:
        """Give back, uncounted, whatever the session still holds."""

    @abstractmethod
    def exchange(self, session: Session, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        """Settle outcomes and claim new messages in one atomic step. `seq` repeats give the stored answer.

        Raises:
            SessionLost: the lease ended and the claims went elsewhere.
            BrokerUnreachable: no answer; repeat the same call.
        """

    @abstractmethod
    def renew(self, session: Session) -> frozenset[str]:
        """Extend the lease; returns the ids that the broker thinks this session holds.

        Raises:
            SessionLost: as in `exchange`.
        """

    @abstractmethod
    def release(self, session: Session, message_ids: Iterable[str]) -> None:
        """Give claims back to their old position, uncounted."""

    def stop_sending(self, session: Session) -> None:
        """The worker will ask for nothing more soon: give back what was sent ahead (see `sends_ahead`)."""

    @abstractmethod
    def sweep(self, identity: ProcessIdentity) -> int:
        """Take the claims of dead sessions away and promote what is due; returns the number taken."""

    @abstractmethod
    def waiter(self) -> Waiter:
        """A waiter for one exchange thread."""

    @abstractmethod
    def queue_stats(self) -> list[QueueStats]:
        """Every declared queue and every queue that holds anything, by name."""

    @abstractmethod
    def peek(self, queue: str, limit: int = 20) -> list[Message[Any]]:
        """The messages that would run next, without claiming them."""

    @abstractmethod
    def dead_letters(self, only: DeadFilter, limit: int = 100, after: str = "") -> list[DeadLetterInfo]:
        """Dead letters, newest first.

        Parameters:
            after: `cursor` of the last one of the page before.

        Raises:
            FilterError: `after` is no cursor of this broker.
        """

    @abstractmethod
    def count_dead(self, only: DeadFilter) -> int:
        """How many dead letters a filter means."""

    @abstractmethod
    def retry_dead(self, only: DeadFilter, *, spread_ms: int = 0) -> int:
        """Move dead letters back to their queues with a fresh attempt count; returns how many.

        Parameters:
            spread_ms: start them at random moments within this time, so that they do not all come at once.
        """

    @abstractmethod
    def clear_dead(self, only: DeadFilter) -> int:
        """Delete dead letters; returns how many."""

    def store_dead(self, messages: Sequence[Message[Any]], reason: str) -> None:
        """Store messages as dead letters; an id that lives or is dead already is left alone.

        Raises:
            BrokerError: this broker takes none over.
        """
        raise BrokerError(f"{type(self).__name__} cannot take dead letters over from elsewhere")

    def cancel(self, message_id: str) -> bool:
        """Take a waiting message away, also out of an outbox; False if it is unknown or already runs.

        The worker of one that runs hears of it.
        """
        if self.supports_find and self.cancel_stored(message_id):
            return True
        return cancel_unpublished(self, message_id) or self.cancel_stored(message_id)

    @abstractmethod
    def cancel_stored(self, message_id: str) -> bool:
        """`cancel` of a message that the broker itself has."""

    @abstractmethod
    def pause(self, queue: str) -> None:
        """Claim nothing more from this queue until `resume`."""

    @abstractmethod
    def resume(self, queue: str) -> None:
        """End a pause."""

    @abstractmethod
    def paused_queues(self) -> frozenset[str]:
        """Queues from which nothing is claimed until somebody resumes them."""

    @abstractmethod
    def ping(self) -> None:
        """Ask the store for a sign of life.

        Raises:
            BrokerError: it gave none, or refuses us.
        """

    @abstractmethod
    def whereabouts(self, message_id: str) -> Whereabouts | None:
        """Where a message stands; None if it neither waits nor runs, or cannot be found by its id (`supports_find`)."""

    def sessions(self) -> list[SessionInfo]:
        """Open sessions; none where the store itself knows which worker lives."""
        return []

    def clock_ms(self) -> float | None:
        """The store's clock, milliseconds since 1970; None where it has none of its own."""
        return None

    def elsewhere(self) -> list[str]:
        """Other places of the same server that hold messages under the same name: a sign of a wrong address."""
        return []

    def server_warnings(self) -> list[str]:
        """What about the store puts tasks at risk, or could not be looked at."""
        return []

    @abstractmethod
    def store_result(self, message_id: str, entry: ResultEntry) -> None:
        """Keep a result that does not travel with an outcome."""

    @abstractmethod
    def load_result(self, message_id: str) -> tuple[bool, Any]:
        """(True, value in wire form) or (False, None)."""

    @abstractmethod
    def holds(self, message_id: str) -> bool:
        """Whether the message still waits or runs."""

    # -- groups ----------------------------------------------------------------------------------------

    def open_group(self, group_id: str, size: int, ttl_ms: int) -> bool:
        """Begin to count who arrives at a group with completion callbacks; False if it is open already."""
        return groups.open_group(self._groups_alias, group_id, size, ttl_ms)

    def arrive(self, group_id: str, member_id: str) -> bool:
        """A member succeeded. True if it is the one that completed the group, however often it is asked.

        Raises:
            BrokerUnreachable: the store does not answer.
        """
        return groups.arrive(self._groups_alias, group_id, member_id)

    @property
    def _groups_alias(self) -> str:
        return self.transaction_alias or self.settings.records_database

    def find(self, message_id: str) -> Standing | None:
        """A message that waits or runs, with its body; None if there is none, and where `supports_find` is False.

        Results ask this again and again, so it reads as little as it can. `whereabouts` is the operator's question: no
        body, but ages, the holder's lease and load, and what a body that nobody can read stands for.
        """
        return None

    # -- declaring -------------------------------------------------------------------------------------

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        options.check_task(actor.actor_name, actor.options, actor.priority)
        adopt(actor)
        self._hard_limits.pop(actor.actor_name, None)
        super().declare_actor(actor)

    def add_middleware(self, middleware: Middleware, **where: Any) -> None:
        super().add_middleware(middleware, **where)
        self.forget_hooks()
        self._known_options = frozenset(self.actor_options | OWN_OPTIONS)

    def forget_hooks(self) -> None:
        """The middleware list was changed from outside."""
        self._hooks = Hooks(self.middleware)

    @property
    def known_options(self) -> frozenset[str]:
        """Names that a task or a send may carry."""
        return self._known_options

    # -- hooks -----------------------------------------------------------------------------------------

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        hooks = self._hooks.of("before_" + signal)
        if not hooks:
            return
        opened = self._open(signal)
        try:
            for middleware, name, hook in hooks:
                if opened is not None:
                    opened.hook = name
                try:
                    hook(self, *args, **kwargs)
                except MiddlewareError:
                    raise
                except Exception:
                    self.logger.critical(BROKEN, "before_" + signal, middleware, exc_info=True)
        finally:
            self._close(opened)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        hooks = self._hooks.of("after_" + signal)
        if not hooks:
            return
        opened = self._open(signal)
        try:
            for middleware, name, hook in hooks:
                if opened is not None:
                    opened.hook = name
                try:
                    hook(self, *args, **kwargs)
                except Exception as error:
                    self.logger.critical(BROKEN, "after_" + signal, middleware, exc_info=True)
                    if opened is not None:
                        opened.hook_errors.append(error)
        finally:
            self._close(opened)

    def emit_before_task(self, message: ClaimedMessage, collector: Collector) -> None:
        """`before_process_message` of whoever has something to do with this message."""
        actor = self.actors.get(message.actor_name)
        hooks = self._hooks.around_task(BEFORE, message.options, {} if actor is None else actor.options)
        collector.is_open = True
        try:
            for middleware, collector.hook, hook in hooks:
                try:
                    hook(self, message)
                except MiddlewareError:
                    raise
                except Exception:
                    self.logger.critical(BROKEN, BEFORE, middleware, exc_info=True)
        finally:
            collector.is_open = False

    def emit_after_task(self, message: ClaimedMessage, collector: Collector, result: Any) -> None:
        """`after_process_message` of a task that ended well, of whoever has something to do with this message."""
        actor = self.actors.get(message.actor_name)
        if result is None and actor is not None:
            hooks = self._hooks.around_task(AFTER, message.options, actor.options)
        else:
            hooks = self._hooks.of(AFTER)
        collector.is_open = True
        try:
            for middleware, collector.hook, hook in hooks:
                try:
                    hook(self, message, result=result)
                except Exception as error:
                    self.logger.critical(BROKEN, AFTER, middleware, exc_info=True)
                    collector.hook_errors.append(error)
        finally:
            collector.is_open = False

    def _open(self, signal: str) -> Collector | None:
        if signal not in COLLECTED:
            return None
        collector: Collector | None = getattr(self._local, "collector", None)
        if collector is not None:
            collector.is_open = True
        return collector

    @staticmethod
    def _close(opened: Collector | None) -> None:
        if opened is not None:
            opened.is_open = False

    # -- the end of a task -----------------------------------------------------------------------------

    def begin(self, claim: Claim) -> Collector:
        """Start to collect for this thread's task."""
        collector = Collector(claim, self.settings.max_retries, self.actors.get(claim.message.actor_name))
        self._local.collector = collector
        return collector

    def end(self) -> None:
        """This thread's task is over."""
        self._local.collector = None

    def collecting(self) -> Collector | None:
        """The collector of this thread while its hooks run, else None."""
        collector: Collector | None = getattr(self._local, "collector", None)
        return collector if collector is not None and collector.is_open else None

    # -- enqueue ---------------------------------------------------------------------------------------

    def enqueue(self, message: Message[Any], *, delay: Any = None) -> Message[Any]:
        """Accept a message; when this returns it is stored, or part of the caller's transaction.

        Parameters:
            delay: milliseconds, a timedelta or an aware datetime; None runs it as soon as possible.

        Raises:
            TasksDisabled: `TaskConfig(enabled=False)`.
            NotSerializable, PayloadTooLarge, InvalidTaskOption: the message cannot be stored.
            EnqueueUnknown, BrokerUnreachable: the store did not answer.
        """
        span = options.delay_ms(message.actor_name, delay)
        collector = self.collecting()
        if collector is not None:
            if message.message_id != collector.claim.message_id:
                self.encode(message)  # here, where a hook can still fail, and not in the exchange thread
            self.emit_before("enqueue", message, span)
            collected = collector.enqueue(message, span)
            self.emit_after("enqueue", collected, span)
            if message.message_id != collector.claim.message_id:  # else it is a retry
                tell_enqueued(collected, span)
            return collected
        self._refuse_if_disabled()
        self.emit_before("enqueue", message, span)
        self._accept([FollowUp(message, span or 0)])
        self.emit_after("enqueue", message, span)
        tell_enqueued(message, span)
        return message

    def enqueue_many(self, messages: Iterable[Message[Any]], *, delay: Any = None) -> list[Message[Any]]:
        """Accept many messages in one step: all of them or, on an error, none."""
        self._refuse_if_disabled()
        batch = [FollowUp(m, options.delay_ms(m.actor_name, delay) or 0) for m in messages]
        for item in batch:
            self.emit_before("enqueue", item.message, item.delay_ms)
        self._accept(batch)
        for item in batch:
            self.emit_after("enqueue", item.message, item.delay_ms)
            tell_enqueued(item.message, item.delay_ms)
        return [item.message for item in batch]

    def _accept(self, batch: Sequence[FollowUp]) -> None:
        """Into the store, or into the outbox of the open transaction that the store is no part of."""
        connection = open_transaction(self.transaction_alias or self.settings.records_database)
        if connection is None or connection.alias == self.transaction_alias:
            self._store_now(batch)
            return
        self._store_now([item for item in batch if not self.waits_for_commit(item.message)])
        put(self, connection, [item for item in batch if self.waits_for_commit(item.message)])

    def _store_now(self, batch: Sequence[FollowUp]) -> None:
        if batch:
            self.store(batch)
        for item in batch:
            self.mark_accepted(item.message)

    def waits_for_commit(self, message: Message[Any]) -> bool:
        """Whether a message of an open transaction that the store is no part of is accepted with its commit."""
        actor = self.actors.get(message.actor_name)
        own = actor.options.get("enqueue_on_commit") if actor is not None else None
        of_task = self.settings.enqueue_on_commit if own is None else own
        return bool(message.options.get("enqueue_on_commit", of_task))

    def mark_accepted(self, message: Message[Any]) -> None:
        """The store has the message, and this process saw it."""
        # Messages are frozen; the mark is no field of theirs and never travels.
        object.__setattr__(message, "_accepted_by", self)

    def accepted_here(self, message: Message[Any]) -> bool:
        """Whether this process saw this broker accept the message."""
        return getattr(message, "_accepted_by", None) is self

    def encode(self, message: Message[Any]) -> str:
        """The text to store for a message that comes from outside; limits apply."""
        options.check_names(message.message_id, message.actor_name, message.queue_name)
        return codec.encode(message, limit=self.settings.max_payload_bytes)

    def priority_of(self, task: str) -> int:
        """Lower runs first, as in Dramatiq; an unknown task is in the middle."""
        actor = self.actors.get(task)
        return actor.priority if actor is not None else 0

    def priority_for(self, message: Message[Any]) -> int:
        """The message's own priority where it carries one, else its task's."""
        own = message.options.get("priority")
        if not isinstance(own, int):
            return self.priority_of(message.actor_name)
        return max(-options.HIGHEST_PRIORITY, min(own, options.HIGHEST_PRIORITY))

    def limits_of(self, task: str, given: Iterable[str]) -> dict[str, Any]:
        """The ceilings for options that a received message gives: what the task, else the configuration, says."""
        actor = self.actors.get(task)
        own = actor.options if actor is not None else {}
        return {name: own.get(name, getattr(self.settings, name)) for name in given if name in options.LIMITS}

    def max_deliveries_of(self, task: str) -> int:
        """How many runs of the task may end with the death of their process before it is a dead letter."""
        if self.option_of(task, "on_lost") == "dead_letter":
            return 1
        own = self.option_of(task, "max_deliveries")
        return own if own is not None else self.settings.max_deliveries

    def option_of(self, task: str, name: str) -> Any:
        """What the task itself says; None if it says nothing or is unknown."""
        actor = self.actors.get(task)
        return actor.options.get(name) if actor is not None else None

    def hard_limit_s_of(self, task: str) -> float:
        """After how many seconds the process of a running task is killed."""
        known = self._hard_limits.get(task)
        if known is None:
            own, soft = self.option_of(task, "hard_time_limit_ms"), self.option_of(task, "time_limit")
            known = self._hard_limits[task] = options.hard_limit_ms(own, soft, self.settings) / 1000
        return known

    def _refuse_if_disabled(self) -> None:
        if not self.settings.enabled:
            raise TasksDisabled("tasks are switched off by TaskConfig(enabled=False); nothing was enqueued")

    # -- stock entries that do not apply ---------------------------------------------------------------

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Any:
        """Not available: a stock `dramatiq` worker would bypass leases and delivery counters."""
        raise BrokerError("this broker is served by `python manage.py rundramatiq`, not by the `dramatiq` command")

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until nothing of the queue waits or runs; for tests. `timeout` in milliseconds.

        Raises:
            QueueJoinTimeout: it took longer.
            BrokerError: this broker cannot tell (see `counts_exactly`).
        """
        if not self.counts_exactly:
            raise BrokerError("this broker cannot tell what runs; wait for results or for events")
        waiter = self.waiter()
        try:
            self._join(queue_name, timeout, waiter)
        finally:
            waiter.close()

    def _join(self, queue_name: str, timeout: int | None, waiter: Waiter) -> None:
        step_s, waited_ms = 0.02, 0.0
        while self._is_busy(queue_name):
            if timeout is not None and waited_ms >= timeout:
                raise QueueJoinTimeout(f"queue {queue_name} is not empty after {timeout} ms")
            threading.Event().wait(step_s)
            waited_ms += step_s * 1000

    def _is_busy(self, queue_name: str) -> bool:
        return any(stats.living > 0 for stats in self.queue_stats() if stats.queue == queue_name)
