"""What every broker promises, as types. `django_cfg.testing.contracts` is the suite that checks it.

A worker process opens a *session* and exchanges over it: outcomes of finished claims go out, new claims come
back, in one round trip. Every exchange carries a sequence number; repeating one gives the stored answer, so a
lost reply neither loses nor repeats anything. Every claim carries a fence; an outcome with an old fence is
refused. Sessions live as long as their lease is renewed; a session whose process is gone is swept and its
messages run elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from dramatiq import Message
from dramatiq.broker import MessageProxy

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.lifecycle import Kind, State


@dataclass(slots=True)
class Claim:
    """A worker's hold on one message. Nobody changes one; it is not frozen because making it would take thrice as long.

    Attributes:
        fence: grows with every claim of the message; an outcome must name the newest.
        deliveries: runs of this message that ended with the death of their process.
        generation: distinguishes lives of one id (a retried dead letter starts a new one).
        waited_ms: from the moment it could have run to the moment of the claim, by the broker's clock.
        age_ms: from the moment it was accepted to the moment of the claim, by the broker's clock.
        received_at: this process's monotonic clock when the claim arrived, in seconds.
        body: the stored text of the message; a task may change its own arguments in place.
        key: the broker's own handle of the message; nobody else reads it.
    """

    message: Message[Any]
    fence: int
    deliveries: int
    generation: int
    priority: int
    enqueued_at_ms: int
    waited_ms: float
    age_ms: float = 0.0
    received_at: float = field(default_factory=time.monotonic)
    body: str = field(default="", repr=False)
    key: int = 0

    @property
    def message_id(self) -> str:
        return self.message.message_id

    @property
    def is_suspect(self) -> bool:
        """An earlier run ended with the death of its process; one suspect at a time runs in a process."""
        return self.deliveries > 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as text without secrets: exception objects never travel.

    Attributes:
        fingerprint: the same for every failure of the same type on the same way through the code.
        place: the innermost function, as `module:function`.
        path: where the exception's class lives, as `module.Class`.
    """

    type: str
    text: str
    traceback: str = ""
    fingerprint: str = ""
    place: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A message that an outcome brings into the world: a callback, the next step of a pipeline."""

    message: Message[Any]
    delay_ms: int = 0


@dataclass(slots=True)
class ResultEntry:
    """A value to keep for `ttl_ms`; already in Dramatiq's wire form (`wrap_result`, `wrap_exception`).

    Like a claim, never changed and not frozen.
    """

    value: Any
    ttl_ms: int
    _text: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The value as JSON, written when it is first asked for.

        Raises:
            TypeError, ValueError, OverflowError, RecursionError: it is no JSON.
        """
        if self._text is None:
            self._text = codec.dumps(self.value)
        return self._text


@dataclass(slots=True)
class Outcome:
    """How one claim ended, with everything that must be stored in the same step that releases the message.

    Like a claim, never changed and not frozen.
    """

    claim: Claim
    kind: Kind
    message: Message[Any]
    delay_ms: int = 0
    follow_ups: tuple[FollowUp, ...] = ()
    result: ResultEntry | None = None
    failure: Failure | None = None
    reason: str = ""
    wait_ms: float = 0.0
    run_ms: float = 0.0
    started: bool = True
    retries_before: int = 0


@dataclass(frozen=True, slots=True)
class Want:
    """How many claims a worker can take, from which queues, and whether one of them may be a suspect."""

    count: int
    queues: tuple[str, ...]
    suspect: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What an exchange brings back.

    Attributes:
        refused: ids whose outcome came with an old fence: somebody else has, or had, the message.
        revoked: claimed ids that an operator cancelled; not yet started ones are to be dropped.
        paused: queues from which nothing is claimed now.
        next_due_ms: until the next delayed message of the wanted queues is due; None if there is none.
        unfit: how many messages were claimed beside these and are gone: nobody can read them, or they were cancelled.
    """

    claims: tuple[Claim, ...] = ()
    refused: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()
    next_due_ms: int | None = None
    unfit: int = 0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Which process on which host holds a session. `process_started` tells a reused pid apart."""

    host_id: str
    host: str
    pid: int
    process_started: str


@dataclass(frozen=True, slots=True)
class Session:
    """An open session. `lease_ms` is how long it lives without a renewal."""

    id: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """An open session as an operator sees it.

    Attributes:
        lease_left_s: until its claims go to others; below 0 when a sweep is due.
        held: how many messages it has claimed.
    """

    process: ProcessIdentity
    lease_left_s: float
    held: int


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a message stands that waits or runs.

    Attributes:
        age_s: since it was accepted, by the broker's clock.
        due_in_s: until it may run; 0 when it may run now.
        deliveries: runs that ended with the death of their process.
        session: who has claimed it; None while it waits.
    """

    message_id: str
    task: str
    queue: str
    state: State
    age_s: float
    due_in_s: float = 0.0
    deliveries: int = 0
    session: SessionInfo | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue at this moment. None: the broker cannot tell (`counts_exactly` is False)."""

    queue: str
    pending: int = 0
    scheduled: int = 0
    running: int | None = 0
    retrying: int | None = 0
    dead: int = 0
    oldest_pending_age_s: float | None = None

    @property
    def later(self) -> int:
        """What waits for its time, as far as the broker can tell."""
        return self.scheduled + (self.retrying or 0)

    @property
    def living(self) -> int:
        """What waits or runs, as far as the broker can tell."""
        return self.pending + self.later + (self.running or 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """One message that waits or runs.

    Attributes:
        deliveries: runs that ended with the death of their process.
        claimed_at_ms: when a worker took it, by the broker's clock; None while it waits.
        worker: `host:pid` of the process that has it; empty while it waits.
    """

    message: Message[Any]
    state: State
    deliveries: int = 0
    claimed_at_ms: int | None = None
    worker: str = ""


def shown(count: int | None) -> str:
    """A count in words: a dash where the broker cannot tell."""
    return "-" if count is None else str(count)


@dataclass(frozen=True, slots=True)
class DeadLetterInfo:
    """A dead letter as an operator sees it.

    Attributes:
        deliveries: runs that ended with the death of their process.
        cursor: where a page that ends with it goes on; only its broker can read it.
    """

    message_id: str
    task: str
    queue: str
    reason: str
    error: str
    attempts: int
    age_s: float = 0.0
    message: Message[Any] | None = None
    deliveries: int = 0
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead letters an action means; everything that is given must match.

    Attributes:
        older_than_s, newer_than_s: seconds since it died, by the broker's clock.
        error: part of the error or of the reason, in any case of letters.
        everything: all of them; nothing else needs to be given.

    Raises:
        ValueError: nothing is given and `everything` is not set, so that nobody empties a broker by accident.
    """

    queue: str | None = None
    task: str | None = None
    message_ids: tuple[str, ...] = field(default=())
    older_than_s: float | None = None
    newer_than_s: float | None = None
    error: str | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        ages = self.older_than_s is not None or self.newer_than_s is not None
        if not (self.queue or self.task or self.message_ids or self.error or ages or self.everything):
            raise ValueError("name a queue, a task, message ids, an age or an error, or say everything=True")


class Waiter(Protocol):
    """Lets an idle worker sleep until there is work, without polling through a backoff."""

    def begin(self) -> None:
        """Called before each session by the thread that will wait in it."""

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """Return when one of the queues may have work, `wake()` was called, or the time is over."""

    def wake(self) -> None:
        """End the current or the next `wait` at once; may be called from any thread."""

    def close(self) -> None:
        """Give back connections and descriptors."""


class ClaimedMessage(MessageProxy):
    """The message of a claim on its way through a worker's middleware.

    Attributes:
        run: what a task API keeps here between the start of a task and its end.
        since: when its run began, by this process's monotonic clock in seconds; 0 before that.
        is_over: its run has ended, whatever threads of its own still do.
    """

    def __init__(self, claim: Claim) -> None:
        super().__init__(claim.message)
        self.claim = claim
        self.run: Any = None
        self.since = 0.0
        self.is_over = False
        # Middleware reads these some twenty times a task, and Dramatiq's proxy looks each up by name.
        message = claim.message
        self.message_id, self.actor_name, self.queue_name = message.message_id, message.actor_name, message.queue_name
        self.args, self.kwargs, self.options = message.args, message.kwargs, message.options

    @property
    def redelivered(self) -> bool:
        """An earlier run of this message ended with the death of its process, so part of its work may be done."""
        return self.claim.deliveries > 0
