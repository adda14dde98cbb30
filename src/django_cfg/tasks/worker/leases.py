"""The keeper's first duty: leases of the living, the estate of the dead, and what nobody else looks after.

It renews a session whose process is too busy to do it (a task that holds the interpreter lock), as long as that
process is neither stopped nor past a hard limit. When a process of its supervisor died it sends the outcomes that
lie in the ledger, gives back what had not started, and only then lets the rest count as a delivery.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from dramatiq import Message
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerUnreachable, SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import Answer, Claim, Outcome, Session, Want
from django_cfg.tasks.brokers.process import identity, is_stopped
from django_cfg.tasks.events import TaskSettled, task_settled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.connections import Connections, keep_open
from django_cfg.tasks.middleware.record import Record
from django_cfg.tasks.worker.exchange import settled
from django_cfg.tasks.worker.keeper import Chore
from django_cfg.tasks.worker.ledger import At, Bank, Entry, Ledgers, Use
from django_cfg.tasks.worker.packed import UNPACKABLE, unpack, unpack_value

logger = get_logger(__name__)
LOOK_S = 0.1
SWEEP_S = 4.0
PAUSE_S = 1.0
#: The number of the one exchange in a dead process's name; above every number of its own.
LAST_SEQ = 2**40
NOTHING = Want(0, ())


def chore(broker: EngineBroker, ledgers: Ledgers) -> Chore:
    """Leases as a chore of the keeper."""
    leases = Leases(broker, ledgers)
    return Chore("leases", leases.turn, finish=leases.finish, may_end=leases.may_end)


class Leases:
    """Looks after the sessions of one supervisor's processes, and sweeps those of everybody."""

    def __init__(self, broker: EngineBroker, ledgers: Ledgers) -> None:
        self._broker, self._ledgers = broker, ledgers
        self._next_sweep = 0.0
        self._finish: Sequence[Callable[[], None]] | None = None

    def turn(self) -> float:
        if self._finish is None:
            self._finish = _begin(self._broker)
        try:
            self._look_after(time.monotonic())
        except BrokerUnreachable as error:
            logger.warning("The broker does not answer the keeper: %s", error)
            return PAUSE_S
        return LOOK_S

    def _look_after(self, now: float) -> None:
        for bank in self._ledgers.of(Use.DEAD):
            settle(self._broker, bank, self._ledgers)
        for bank in self._ledgers.of(Use.LIVING):
            if needs_renewal(bank, now, self._broker.settings.lease_ms):
                self._renew(bank)
        if now >= self._next_sweep:
            self._broker.sweep(identity())
            self._next_sweep = now + SWEEP_S * random.uniform(0.8, 1.2)

    def _renew(self, bank: Bank) -> None:
        began = time.monotonic()
        try:
            self._broker.renew(Session(bank.session, self._broker.settings.lease_ms))
        except SessionLost:
            return  # its process will hear of it too, and opens a new one
        bank.renewed_by_keeper = began

    def may_end(self) -> bool:
        """As long as a process lives, the keeper may have to settle for it."""
        return all(bank.use is Use.FREE for bank in self._ledgers.banks)

    def finish(self) -> None:
        for end in self._finish or ():
            end()


def _begin(broker: EngineBroker) -> list[Callable[[], None]]:
    """After the fork: connections that last, and records of what settles here."""
    for middleware in broker.middleware:
        if isinstance(middleware, Connections):
            keep_open(middleware.max_age_s)
    return [middleware.listen(broker) for middleware in broker.middleware if isinstance(middleware, Record)]


def needs_renewal(bank: Bank, now: float, lease_ms: int) -> bool:
    """Whether the session of a living process has not been renewed in time, and deserves it."""
    renewed = max(bank.renewed_by_worker, bank.renewed_by_keeper)
    is_late = bool(bank.session) and now - renewed > lease_ms / 3000 + 1
    return is_late and not bank.overdue(now) and not is_stopped(bank.pid)


def settle(broker: EngineBroker, bank: Bank, ledgers: Ledgers) -> None:
    """Send what a dead process left, tell what was lost with it, and free its bank."""
    session = Session(bank.session, broker.settings.lease_ms)
    if session.id:
        entries = list(bank.entries())
        if broker.settles_for_the_dead:
            _send(broker, session, entries)
        for entry in entries:
            if is_lost(entry):
                task_settled.emit(lost(entry, bank.status))
        if broker.settles_for_the_dead:
            # In its own name: what the session still holds counts as a delivery now, and not at the end of its lease.
            broker.sweep(bank.process(ledgers.guardian))
    bank.free()


def _send(broker: EngineBroker, session: Session, entries: Sequence[Entry]) -> None:
    try:
        _settle(broker, session, entries)
    except SessionLost as error:
        logger.warning("A dead process's claims went elsewhere before they were settled: %s", error)


def _settle(broker: EngineBroker, session: Session, entries: Sequence[Entry]) -> None:
    """Outcomes out, unstarted claims back; only what had started stays in the session."""
    outcomes = [outcome_of(entry) for entry in entries if not is_lost(entry)]
    try:
        answer = broker.exchange(session, LAST_SEQ, outcomes, NOTHING)
    except UNPACKABLE:
        logger.exception("An outcome of a dead process cannot be stored; what it had not sent counts as lost.")
        outcomes, answer = [], Answer()
    started = {entry.message_id for entry in entries if entry.at not in (At.CLAIMED, At.EMPTY)}
    broker.release(session, broker.renew(session) - started)
    for outcome in outcomes:
        message_id = outcome.claim.message_id
        # Refused and gone: the process had sent it itself, but could tell nobody any more.
        if message_id not in answer.refused or not broker.holds(message_id):
            task_settled.emit(settled(outcome))
    ended = sum(outcome.kind is not Kind.RELEASED for outcome in outcomes)
    back = len(outcomes) - ended
    logger.info("Settled for a dead process: %d outcomes, %d given back, %d lost.", ended, back, len(started))


def is_lost(entry: Entry) -> bool:
    """Started, and nobody knows how it ended."""
    return entry.at in (At.STARTED, At.TIMED_OUT)


def outcome_of(entry: Entry) -> Outcome:
    """What the process would have sent."""
    message: Message[object] = Message(entry.queue, entry.task, (), {}, {}, entry.message_id)
    claim = Claim(message, entry.fence, entry.deliveries, entry.generation, 0, entry.enqueued_at_ms, 0.0)
    if entry.at is At.ENDED:
        return unpack(claim, entry.data)
    if entry.at is At.RETURNED:
        return unpack_value(claim, entry.data, entry.retries)
    if entry.at is At.DONE:
        return Outcome(claim, Kind.DONE, message, run_ms=entry.span, retries_before=entry.retries)
    return Outcome(claim, Kind.RELEASED, message, reason="not started", started=False)


def lost(entry: Entry, status: int) -> TaskSettled:
    """The event of a run whose process died under it. The message goes on by its delivery counter."""
    if entry.at is At.TIMED_OUT:
        kind, text = "HardTimeLimitExceeded", "it ran past its hard time limit, and its process was killed"
    else:
        kind, text = "WorkerLost", f"its process {how_it_ended(status)} while running it"
    return TaskSettled(
        message_id=entry.message_id,
        task=entry.task,
        queue=entry.queue,
        kind=Kind.RETRY,
        generation=entry.generation,
        fence=entry.fence,
        retries=entry.retries,
        enqueued_at_ms=entry.enqueued_at_ms,
        wait_ms=0.0,
        run_ms=0.0,
        reason="lost",
        error_type=kind,
        error=text,
        traceback="",
    )


def how_it_ended(status: int) -> str:
    """An exit code as words; negative: the signal."""
    return f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
