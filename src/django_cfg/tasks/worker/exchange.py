"""The one thread of a worker process that talks to the broker.

Outcomes of finished tasks go out and new claims come in through the same call. Task threads only append to
the outbox and wake this thread.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from dramatiq.logging import get_logger

from django_cfg.errors import BrokerUnreachable, SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.collector import as_stored, describe
from django_cfg.tasks.brokers.contract import Answer, Claim, Outcome, Session, Want
from django_cfg.tasks.brokers.endings import ended_badly, returned
from django_cfg.tasks.events import OutcomeRefused, TaskSettled, outcome_refused, task_settled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.connections import keep_no_queries
from django_cfg.tasks.records import cancelling
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.tasks.worker.ledger import Ledger, NoLedger
from django_cfg.tasks.worker.pace import Pace
from django_cfg.tasks.worker.reunion import Reunion
from django_cfg.tasks.worker.unknown import unknown_task

AHEAD_S = 0.020
#: How long outcomes wait for others at most, while there is work for as long.
GATHER_S = 0.005
#: What a task takes at least, with all that is done around it.
QUICKEST_S = 0.0001
STALE_CLAIM_S = 0.1
#: What is started within so long at the pace of the moment is not given back, however long it has waited.
SOON_S = 0.5
CAUTION_S = 1.0
SWEEP_S = 4.0
IDLE_S = 1.0
LEASE_MARGIN_S = 2.0
FIRST_BACKOFF_S, SLOWEST_BACKOFF_S = 0.1, 3.0
SMOOTHING = 0.2
#: Before the next look when work is there but none of it for us: suspects, or rows that others are claiming.
FRUITLESS_S = 0.1
MOST_FRUITLESS = 2
#: What a store says about data that it cannot hold, now or later.
UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError)


class ExchangeThread(threading.Thread):
    """Exchanges with the broker until stopped, through outages and lost sessions.

    Parameters:
        queues: the queues to serve; may grow while it runs.
        threads: how many task threads there are.
        ledger: where it notes what it holds for whoever settles after the death of this process; with one, a
            keeper sweeps and renews too.

    Attributes:
        most_runs: claim no more than so many runs in all.
        runs: how many were settled.
        is_dry: the last look for claims brought none.
    """

    def __init__(
        self, broker: EngineBroker, backlog: Backlog, threads: int, ledger: Ledger | NoLedger | None = None
    ) -> None:
        super().__init__(name="exchange", daemon=True)
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.queues: list[str] = []
        self.is_claiming = True
        self.ledger = ledger or NoLedger()
        self.most_runs = math.inf
        self.runs = 0
        self.is_dry = False
        self._backlog = backlog
        self._threads = threads
        self._outbox: deque[Outcome] = deque()
        self._held: dict[str, Claim] = {}
        self._reunion = Reunion()
        self._session: Session | None = None
        self._has_lost = False
        self._seq = 0
        self._look = True
        self._is_sent = True
        self._most_outcomes = broker.most_at_once
        self._fruitless = 0
        self._mean_s: float | None = None
        self._pace = Pace(STALE_CLAIM_S, time.monotonic())
        self._cautious_until = 0.0
        self._next_sweep = 0.0
        self._renewed = 0.0
        self._finish_by: float | None = None
        self._opened = threading.Event()
        self._awaited: dict[int, threading.Event] = {}
        self._waiter = broker.waiter()

    # -- called by other threads -----------------------------------------------------------------------

    def put(self, outcome: Outcome) -> None:
        """Hand over how a claim ended; costs no I/O. One that the ledger cannot hold is waited for."""
        is_safe = self.ledger.ended(outcome)
        sent = None if is_safe else self._awaited.setdefault(id(outcome.claim), threading.Event())
        self._outbox.append(outcome)
        self._waiter.wake()
        if sent is not None:
            sent.wait()

    def may_start(self) -> bool:
        """False near the end of the lease: somebody else may get the message any moment."""
        if self._session is None:
            return False
        latest = time.monotonic() - self._session.lease_ms / 1000 + LEASE_MARGIN_S
        return latest < self._renewed or latest < self.ledger.renewed_by_keeper

    def stop_claiming(self) -> None:
        self.is_claiming = False
        self._waiter.wake()

    def start_claiming(self) -> None:
        self.is_claiming = True
        self._waiter.wake()

    def finish(self, within_s: float) -> None:
        """Send what is left, close the session and end, at the latest after `within_s`."""
        self.is_claiming = False
        self._finish_by = time.monotonic() + within_s
        self._waiter.wake()

    @property
    def is_idle(self) -> bool:
        """Nothing held and nothing to send."""
        return not self._held and not self._outbox and self._reunion.is_empty

    def unsettled(self) -> list[Claim]:
        """Claims whose end is not known yet."""
        ended = {outcome.claim.message_id for outcome in list(self._outbox)}
        return [claim for claim in list(self._held.values()) if claim.message_id not in ended]

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> None:
        keep_no_queries()
        self.broker.emit_after("consumer_thread_boot", self)
        backoff_s = FIRST_BACKOFF_S
        while not self._is_finished():
            try:
                self._turn()
                backoff_s = FIRST_BACKOFF_S
            except SessionLost as error:
                self._start_over(error)
            except BrokerUnreachable as error:
                self.logger.warning("The broker does not answer, trying again: %s", error)
                backoff_s = self._back_off(backoff_s)
            except Exception:
                self.logger.critical("The exchange thread met an unexpected error.", exc_info=True)
                backoff_s = self._back_off(backoff_s)
        self._close()
        self.broker.emit_before("consumer_thread_shutdown", self)

    def _turn(self) -> None:
        session = self._open()
        self._gather()
        self._housekeep(session)
        self._withdraw_stale()
        self._stop_sending(session)
        self._reunion.keep_back(self._outbox, is_ending=self._finish_by is not None)
        want = self._want()
        if not self._outbox and not (want.count and self._look) and not self._is_silent():
            self._wait(want.queues if want.count else ())
            self._look = True
            return
        outcomes = self._reunion.by_new_claims(self._next_outcomes(), self._held)
        try:
            answer = self._exchange(session, outcomes, want)
        except UNSTORABLE as error:
            self._isolate(outcomes, error)
            return
        self._most_outcomes = self.broker.most_at_once
        found = len(answer.claims) + answer.unfit
        self._look = bool(want.count) and found >= want.count
        self.is_dry = bool(want.count) and not found
        self._settled(outcomes, answer)
        self._received(answer)
        self._rest(bool(outcomes or found))

    def _gather(self) -> None:
        """While enough waits for the threads, let outcomes come together: few cost nearly as much as many."""
        deadline = time.monotonic() + GATHER_S
        while self._may_gather() and time.monotonic() < deadline:
            time.sleep(GATHER_S / 5)

    def _may_gather(self) -> bool:
        waiting, outcomes = self._backlog.waiting, len(self._outbox)
        if not 0 < outcomes < waiting or self._awaited or not self.is_claiming:
            return False
        return waiting * self._mean_at_least_s() >= self._threads * GATHER_S

    def _next_outcomes(self) -> list[Outcome]:
        """What goes out now, at most one word about a message: at a stop a task may end just when it is given back, and
        after a lost session one may run twice. The first word counts; the second goes out later and is refused."""
        first = list(self._outbox)[: self._most_outcomes]
        if self.is_claiming and not self._has_lost:
            return first
        told = set[str]()
        for place, outcome in enumerate(first):
            if outcome.claim.message_id in told:
                return first[:place]
            told.add(outcome.claim.message_id)
        return first

    def _stop_sending(self, session: Session) -> None:
        """Once for each time that claiming stops: others may run what was sent ahead."""
        if self.is_claiming:
            self._is_sent = True
        elif self._is_sent:
            self.broker.stop_sending(session)
            self._is_sent = False

    def _wait(self, queues: tuple[str, ...]) -> None:
        began = time.monotonic()
        self._waiter.wait(queues, self._patience_s())
        if time.monotonic() - began >= FRUITLESS_S:
            self._fruitless = 0

    def _rest(self, bore_fruit: bool) -> None:
        """Look less often where the waiter keeps seeing work that is not for us. Once is no sign of that."""
        self._fruitless = 0 if bore_fruit else self._fruitless + 1
        if self._fruitless > MOST_FRUITLESS:
            self._waiter.wait((), FRUITLESS_S)

    def _is_silent(self) -> bool:
        """Whether busy threads kept us from hearing of cancelled tasks for a while."""
        return bool(self._held) and time.monotonic() - self._renewed >= IDLE_S

    def _isolate(self, outcomes: Sequence[Outcome], error: Exception) -> None:
        """One outcome that cannot be stored must not keep the others: find it, and bury its message instead."""
        if not outcomes:
            raise error
        self._most_outcomes = 1
        if len(outcomes) == 1:
            self.logger.error("The outcome of %s cannot be stored.", outcomes[0].claim.message_id, exc_info=error)
            self._outbox[0] = unmanageable(self._outbox[0].claim, error)

    def _exchange(self, session: Session, outcomes: Sequence[Outcome], want: Want) -> Answer:
        """One exchange. After a lost reply the very same call is repeated: the broker knows its number."""
        self._seq += 1
        backoff_s = FIRST_BACKOFF_S
        while True:
            began = time.monotonic()
            try:
                answer = self.broker.exchange(session, self._seq, outcomes, want)
            except BrokerUnreachable as error:
                if self._is_out_of_time():
                    raise
                self.logger.warning("The broker does not answer, repeating: %s", error)
                backoff_s = self._back_off(backoff_s)
            else:
                self._note_renewal(began)
                return answer

    def _settled(self, outcomes: Sequence[Outcome], answer: Answer) -> None:
        for outcome in outcomes:
            self._outbox.popleft()
            claim = outcome.claim
            self._let_go(claim)
            if self._held.get(claim.message_id) is claim:  # after a lost session it may be held anew
                del self._held[claim.message_id]
        cancelling.forget(outcome.claim.message_id for outcome in outcomes)
        self._learn([outcome.run_ms / 1000 for outcome in outcomes if outcome.started])
        accepted = outcomes
        if answer.refused:
            accepted = [outcome for outcome in outcomes if outcome.claim.message_id not in answer.refused]
            for outcome in outcomes:
                if outcome.claim.message_id in answer.refused:
                    self._refuse(outcome.claim)
        task_settled.emit_all(accepted, settled)

    def _let_go(self, claim: Claim) -> None:
        if self._held.get(claim.message_id) is claim:
            claim = self._reunion.take_origin(claim)
        self.ledger.settled(claim)
        self._reunion.forget(claim)
        sent = self._awaited.pop(id(claim), None) if self._awaited else None
        if sent is not None:
            sent.set()

    def _refuse(self, claim: Claim) -> None:
        message = claim.message
        self.logger.warning(
            "Lease lost: the outcome of %s %s was refused, the message went elsewhere.",
            message.actor_name,
            message.message_id,
        )
        outcome_refused.emit(OutcomeRefused(message.message_id, message.actor_name, message.queue_name))

    def _received(self, answer: Answer) -> None:
        known = []
        for claim in answer.claims:
            self._held[claim.message_id] = claim
            if self._reunion.expects and self._goes_on(claim):
                continue
            self.ledger.claimed(claim)
            if claim.message.actor_name in self.broker.actors:
                known.append(claim)
            else:
                self._outbox.append(unknown_task(claim))
        self._release(self._backlog.put(known))
        if answer.revoked:
            cancelling.request(answer.revoked & self._held.keys())
            self._release(self._backlog.withdraw(ids=answer.revoked))

    def _goes_on(self, claim: Claim) -> bool:
        """Whether a thread still runs what comes here again: then that run is this claim's, and no other one starts."""
        running = self._reunion.run_of(claim)
        if running is None:
            return False
        self._outbox.extend(self._reunion.take_outcomes_of(running))
        self.ledger.goes_on(running, claim)
        self.logger.warning(
            "%s %s came again while it runs here; its run goes on.", claim.message.actor_name, claim.message_id
        )
        return True

    # -- how much to claim -----------------------------------------------------------------------------

    def _want(self) -> Want:
        queues = tuple(self.queues)
        if not self.is_claiming or not queues:
            return Want(0, queues)
        busy = self._backlog.running + self._backlog.waiting
        target = self._threads + self._ahead() + self._reunion.hoped_for
        left = self.most_runs - self.runs - len(self._held)
        count = int(min(min(target, self.broker.most_at_once) - busy, self.ledger.room, left))
        return Want(max(0, count), queues, not self._backlog.holds_suspect)

    def _ahead(self) -> int:
        """How many claims beyond the threads keep them busy for 20 ms; none while tasks are slow or unknown."""
        if self._mean_s is None or time.monotonic() < self._cautious_until:
            return 0
        if self._mean_s > STALE_CLAIM_S:
            return 0
        return math.ceil(self._threads * AHEAD_S / self._mean_at_least_s())

    def _mean_at_least_s(self) -> float:
        return max(self._mean_s or 0.0, QUICKEST_S)

    def _learn(self, runs_s: Sequence[float]) -> None:
        """How long runs took that have just been settled."""
        self.runs += len(runs_s)
        self.ledger.count(len(runs_s))
        for run_s in runs_s:
            mean = self._mean_s
            self._mean_s = run_s if mean is None else mean + SMOOTHING * (run_s - mean)

    def _withdraw_stale(self) -> None:
        """Give back what waits while every thread is busy: another process may be idle."""
        started_soon = self._pace.per_s(self._backlog.taken, time.monotonic()) * SOON_S
        if self._backlog.waiting > started_soon and not self._backlog.idle:
            stale = self._backlog.withdraw(older_than_s=STALE_CLAIM_S)
            if stale:
                self._cautious_until = time.monotonic() + CAUTION_S
                self._release(stale)

    def _release(self, claims: Iterable[Claim]) -> None:
        self._outbox.extend(released(claim, "not started") for claim in claims)

    # -- session ---------------------------------------------------------------------------------------

    def _open(self) -> Session:
        if self._session is None:
            began = time.monotonic()
            self._sweep()
            self._waiter.begin()
            self._session = self.broker.open_session(self.ledger.identity())
            self.ledger.opened(self._session.id)
            self._seq = 0
            self._reunion.opened()
            self._note_renewal(began)
            self._opened.set()
        return self._session

    def _start_over(self, error: SessionLost) -> None:
        """Everything we held belongs to others now. Running tasks go on; unless their messages come here again, how
        they end will be refused."""
        self.logger.warning("%s; starting a new session.", error)
        self.ledger.opened(0)
        self._has_lost = True
        unstarted = self._drop_unstarted()
        for claim in self._held.values():
            if claim.message_id in unstarted:
                self._refuse(claim)
        self._reunion.lost({one: claim for one, claim in self._held.items() if one not in unstarted})
        self._held.clear()
        self._session = None

    def _drop_unstarted(self) -> set[str]:
        """Forget what waits here and what was to go back: it went back with the session. Returns the messages."""
        waiting = self._backlog.withdraw()
        for claim in waiting:
            self.ledger.settled(claim)
        dropped = {claim.message_id for claim in waiting}
        outcomes = [self._outbox.popleft() for _ in range(len(self._outbox))]
        for outcome in outcomes:
            if outcome.started and outcome.kind is not Kind.RELEASED:
                self._outbox.append(outcome)
            else:
                self._let_go(outcome.claim)
                dropped.add(outcome.claim.message_id)
        return dropped

    def _housekeep(self, session: Session) -> None:
        now = time.monotonic()
        if now - self._renewed > session.lease_ms / 3000:
            ids = self.broker.renew(session)
            self._note_renewal(now)
            stray = ids - self._held.keys()
            if stray:
                self.logger.warning("Giving back %d claims that nobody here knows.", len(stray))
                self.broker.release(session, stray)
        if now >= self._next_sweep:
            self._sweep()

    def _sweep(self) -> None:
        """Without a keeper somebody has to. A keeper settles for our dead siblings first, so it sweeps alone."""
        if not self.ledger.is_guarded:
            self._next_sweep = time.monotonic() + SWEEP_S * random.uniform(0.8, 1.2)
            self.broker.sweep(self.ledger.identity())

    def _note_renewal(self, moment: float) -> None:
        self._renewed = moment
        self.ledger.renewed(moment)

    def _patience_s(self) -> float:
        # Also while threads seem idle: they may not have woken yet for what has just come.
        return STALE_CLAIM_S if self._backlog.waiting else IDLE_S

    # -- the end ---------------------------------------------------------------------------------------

    def _is_finished(self) -> bool:
        is_empty = not self._outbox and self._reunion.is_empty
        return self._finish_by is not None and (is_empty or self._is_out_of_time())

    def _is_out_of_time(self) -> bool:
        return self._finish_by is not None and time.monotonic() >= self._finish_by

    def _back_off(self, seconds: float) -> float:
        deadline = time.monotonic() + seconds * random.uniform(0.5, 1)
        while time.monotonic() < deadline and not self._is_out_of_time():
            time.sleep(0.05)
        return min(seconds * 2, SLOWEST_BACKOFF_S)

    def _close(self) -> None:
        try:
            if self._session is not None:
                self.broker.close_session(self._session)
                self.ledger.opened(0)
        except BrokerUnreachable as error:
            self.logger.warning(
                "The broker does not answer at the end (%s): %d messages will be delivered again.",
                error,
                len(self._held),
            )
        self._waiter.close()


def released(claim: Claim, reason: str, *, started: bool = False) -> Outcome:
    """Give a claim back; no retry is used up."""
    return Outcome(claim, Kind.RELEASED, claim.message, reason=reason, started=started)


def unmanageable(claim: Claim, error: BaseException) -> Outcome:
    """To the dead letters as it was: neither its task nor its hooks are to blame for what cannot be handled."""
    failure = describe(error)
    return Outcome(
        claim,
        Kind.DEAD,
        as_stored(claim),
        failure=failure,
        result=ended_badly(failure.text),
        reason=f"could not be handled: {failure.type}"[:200],
    )


def settled(outcome: Outcome) -> TaskSettled:
    """The event for an accepted outcome."""
    claim, message, failure = outcome.claim, outcome.message, outcome.failure
    return TaskSettled(
        message_id=claim.message_id,
        task=message.actor_name,
        queue=message.queue_name,
        kind=outcome.kind,
        generation=claim.generation,
        fence=claim.fence,
        retries=outcome.retries_before + (outcome.kind is Kind.RETRY and outcome.started),
        enqueued_at_ms=claim.enqueued_at_ms,
        wait_ms=outcome.wait_ms,
        run_ms=outcome.run_ms,
        reason=outcome.reason,
        error_type=failure.type if failure else "",
        error=failure.text if failure else "",
        traceback=failure.traceback if failure else "",
        deliveries=claim.deliveries,
        body=claim.body,
        result=returned(outcome.result.value) if outcome.result and outcome.kind is Kind.DONE else None,
        started=outcome.started,
        fingerprint=failure.fingerprint if failure else "",
        place=failure.place if failure else "",
    )
