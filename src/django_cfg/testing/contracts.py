"""The laws that every broker keeps. Run them on a broker of your own:

    class TestMyBroker(BrokerContract, WorkerContract):
        ...

with a pytest fixture named `broker` that yields an empty `EngineBroker` whose settings have short backoffs
(`min_backoff=100`, `max_backoff=200`, `max_retries=2`, `max_deliveries=3`), and that is Dramatiq's global
broker meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import dramatiq
from dramatiq import Actor, Message, group
from dramatiq.middleware import CurrentMessage, Middleware
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout

from django_cfg.errors import InvalidTaskOption, NotSerializable, PayloadTooLarge, SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    Answer,
    Claim,
    DeadFilter,
    Failure,
    FollowUp,
    Outcome,
    ProcessIdentity,
    QueueStats,
    ResultEntry,
    Session,
    Want,
)
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.events import TaskSettled, task_settled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.testing.waiting import eventually

QUEUE = "default"
PATIENCE_MS = 15_000


def dead_process() -> ProcessIdentity:
    """A process of this host that has surely ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mine = identity()
        return ProcessIdentity(mine.host_id, mine.host, process.pid, "1")


def message(task: str = "work", *args: Any, queue: str = QUEUE, **options: Any) -> Message[Any]:
    return Message(queue_name=queue, actor_name=task, args=args, kwargs={}, options=options)


def done(claim: Claim, **more: Any) -> Outcome:
    return Outcome(claim, Kind.DONE, claim.message, **more)


def retry(claim: Claim, delay_ms: int = 0, **options: Any) -> Outcome:
    return Outcome(claim, Kind.RETRY, claim.message.copy(options=options), delay_ms=delay_ms)


def dead(claim: Claim) -> Outcome:
    errors = [{"type": "ValueError", "text": "bad", "traceback": "Traceback: bad", "at": 1}]
    failure = Failure("ValueError", "bad", "Traceback: bad")
    changed = claim.message.copy(options={"errors": errors})
    return Outcome(claim, Kind.DEAD, changed, failure=failure, reason="failed: ValueError")


def released(claim: Claim) -> Outcome:
    return Outcome(claim, Kind.RELEASED, claim.message)


class Client:
    """A worker process as the broker sees it: a session and its numbered exchanges."""

    def __init__(self, broker: EngineBroker, who: ProcessIdentity | None = None) -> None:
        self.broker = broker
        self.session: Session = broker.open_session(who or identity())
        self.seq = 0

    def exchange(
        self, *outcomes: Outcome, count: int = 10, queues: Sequence[str] = (QUEUE,), suspect: bool = True
    ) -> Answer:
        self.seq += 1
        return self.broker.exchange(self.session, self.seq, outcomes, Want(count, tuple(queues), suspect))

    def repeat(self, *outcomes: Outcome, count: int = 10) -> Answer:
        return self.broker.exchange(self.session, self.seq, outcomes, Want(count, (QUEUE,)))

    def claim(self, **want: Any) -> list[Claim]:
        return list(self.exchange(**want).claims)

    def claim_soon(self) -> Claim:
        """The next claim, waiting for one that is due in a moment."""
        return eventually(lambda: self.claim(count=1))[0]


def declare(function: Callable[..., Any], **options: Any) -> Actor[Any, Any]:
    """A task of the global broker; the name is given, because functions of a test may have none."""
    actor: Actor[Any, Any] = dramatiq.actor(**options)(function)
    return actor


def ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.message_id for claim in claims]


def stats(broker: EngineBroker, queue: str = QUEUE) -> QueueStats:
    return next((s for s in broker.queue_stats() if s.queue == queue), QueueStats(queue))


class BrokerContract:
    """Laws of the store, driven exchange by exchange."""

    # -- accepting -------------------------------------------------------------------------------------

    def test_an_accepted_message_is_claimed_by_one_session_only(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message("work", 1, "two"))
        first, second = Client(broker), Client(broker)
        (claim,) = first.claim()
        assert claim.message == sent
        assert second.claim() == []

    def test_messages_of_one_priority_run_in_the_order_of_their_acceptance(self, broker: EngineBroker) -> None:
        sent = broker.enqueue_many([message("work", n) for n in range(20)])
        assert ids(Client(broker).claim(count=20)) == [m.message_id for m in sent]

    def test_a_lower_priority_number_runs_first(self, broker: EngineBroker) -> None:
        declare(lambda: None, actor_name="late", priority=10)
        declare(lambda: None, actor_name="early", priority=-10)
        for task in ("late", "work", "early"):
            broker.enqueue(message(task))
        assert [c.message.actor_name for c in Client(broker).claim()] == ["early", "work", "late"]

    def test_queues_share_a_claim_fairly(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("work", queue="a") for _ in range(10)])
        broker.enqueue_many([message("work", queue="b") for _ in range(10)])
        claims = Client(broker).claim(count=4, queues=("a", "b"))
        assert sorted(c.message.queue_name for c in claims) == ["a", "a", "b", "b"]

    def test_a_claim_takes_only_the_queues_that_were_asked_for(self, broker: EngineBroker) -> None:
        broker.enqueue(message("work", queue="other"))
        assert Client(broker).claim() == []

    def test_a_living_id_is_accepted_once(self, broker: EngineBroker) -> None:
        sent = message()
        broker.enqueue(sent)
        broker.enqueue(sent)
        assert len(Client(broker).claim()) == 1

    def test_a_finished_id_starts_a_new_generation(self, broker: EngineBroker) -> None:
        sent, client = message(), Client(broker)
        broker.enqueue(sent)
        (first,) = client.claim()
        client.exchange(done(first))
        broker.enqueue(sent)
        (second,) = client.claim()
        assert second.generation >= first.generation
        assert second.deliveries == 0

    def test_a_batch_with_one_bad_message_stores_none(self, broker: EngineBroker) -> None:
        try:
            broker.enqueue_many([message("work", 1), message("work", {1, 2})])
        except NotSerializable as error:
            assert "argument 1 of work: set is not JSON; pass a list" in str(error)
        else:
            raise AssertionError("a set was accepted")
        assert Client(broker).claim() == []

    def test_a_payload_above_the_limit_is_refused_at_once(self, broker: EngineBroker) -> None:
        try:
            broker.enqueue(message("work", "x" * (broker.settings.max_payload_bytes + 1)))
        except PayloadTooLarge as error:
            assert "max_payload_bytes" in str(error)
        else:
            raise AssertionError("a huge payload was accepted")

    def test_a_message_cannot_raise_the_limits_of_its_task(self, broker: EngineBroker) -> None:
        declare(lambda: None, actor_name="limited", max_retries=1, time_limit=1000)
        broker.enqueue(message("limited", max_retries=99, time_limit=10**9))
        (claim,) = Client(broker).claim()
        assert (claim.message.options["max_retries"], claim.message.options["time_limit"]) == (1, 1000)

    # -- delays ----------------------------------------------------------------------------------------

    def test_a_delayed_message_waits_in_the_broker_until_it_is_due(self, broker: EngineBroker) -> None:
        client = Client(broker)
        broker.enqueue(message(), delay=300)
        answer = client.exchange()
        assert answer.claims == ()
        assert answer.next_due_ms is not None
        assert 0 < answer.next_due_ms <= 300
        assert stats(broker).scheduled == 1
        assert client.claim_soon().message.actor_name == "work"

    def test_what_is_due_sooner_does_not_wait_for_what_is_due_later(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("later") for _ in range(50)], delay=3_600_000)
        broker.enqueue(message("soon"), delay=50)
        assert Client(broker).claim_soon().message.actor_name == "soon"

    # -- settling --------------------------------------------------------------------------------------

    def test_a_finished_message_is_gone(self, broker: EngineBroker) -> None:
        sent, client = broker.enqueue(message()), Client(broker)
        (claim,) = client.claim()
        assert broker.holds(sent.message_id)
        assert client.exchange(done(claim)).refused == frozenset()
        assert not broker.holds(sent.message_id)
        assert Client(broker).claim() == []

    def test_a_retry_is_stored_changed_in_the_step_that_releases_it(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (first,) = client.claim()
        client.exchange(retry(first, retries=1), count=0)
        second = client.claim_soon()
        assert second.message.options["retries"] == 1
        assert second.fence > first.fence

    def test_a_retry_waits_its_delay(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(retry(claim, 60_000))
        assert client.claim() == []
        assert stats(broker).retrying == 1

    def test_an_outcome_with_an_old_fence_is_refused_and_changes_nothing(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (old,) = client.claim()
        client.exchange(released(old), count=0)
        (new,) = client.claim()
        extra = FollowUp(message("follow"))
        assert client.exchange(done(old, follow_ups=(extra,))).refused == {old.message_id}
        assert broker.holds(new.message_id)
        assert client.exchange(done(new)).refused == frozenset()
        assert client.claim() == []

    def test_a_repeated_exchange_gives_the_same_answer_and_settles_once(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("work", n) for n in range(3)])
        client = Client(broker)
        (claim, *_) = client.claim(count=1)
        outcome = done(claim, follow_ups=(FollowUp(message("follow")),))
        first = client.exchange(outcome, count=1)
        again = client.repeat(outcome, count=1)
        assert [(c.message_id, c.fence) for c in again.claims] == [(c.message_id, c.fence) for c in first.claims]
        assert again.refused == first.refused
        assert len(client.claim()) == 2  # the third message and one follow-up

    def test_a_released_message_goes_back_to_its_old_position_uncounted(self, broker: EngineBroker) -> None:
        sent = broker.enqueue_many([message("work", n) for n in range(3)])
        client = Client(broker)
        (first,) = client.claim(count=1)
        client.exchange(released(first), count=0)
        claims = client.claim()
        assert ids(claims) == [m.message_id for m in sent]
        assert claims[0].deliveries == 0

    def test_follow_ups_and_results_are_stored_with_the_outcome(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(done(claim, follow_ups=(FollowUp(message("next")),), result=ResultEntry([1], 60_000)), count=0)
        assert broker.load_result(sent.message_id) == (True, [1])
        assert client.claim_soon().message.actor_name == "next"

    def test_a_result_expires(self, broker: EngineBroker) -> None:
        broker.store_result("some-id", ResultEntry("value", 50))
        eventually(lambda: broker.load_result("some-id") == (False, None))

    # -- dead letters ----------------------------------------------------------------------------------

    def test_a_dead_letter_carries_its_reason_and_its_tracebacks(self, broker: EngineBroker) -> None:
        self._bury(broker)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert (letter.task, letter.queue, letter.reason) == ("work", QUEUE, "failed: ValueError")
        assert letter.message is not None
        assert letter.message.options["errors"][0]["traceback"] == "Traceback: bad"
        assert stats(broker).dead == 1

    def test_a_retried_dead_letter_starts_a_fresh_count_and_is_in_one_place(self, broker: EngineBroker) -> None:
        self._bury(broker, retries=7)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        broker.store_result(letter.message_id, ResultEntry("the old failure", 60_000))
        assert broker.retry_dead(DeadFilter(task="work")) == 1
        assert broker.load_result(letter.message_id) == (False, None)
        assert broker.dead_letters(DeadFilter(everything=True)) == []
        (claim,) = Client(broker).claim()
        assert "retries" not in claim.message.options
        assert "errors" not in claim.message.options
        assert claim.deliveries == 0

    def test_clearing_takes_only_what_the_filter_names(self, broker: EngineBroker) -> None:
        self._bury(broker)
        assert broker.clear_dead(DeadFilter(queue="other")) == 0
        assert broker.clear_dead(DeadFilter(queue=QUEUE)) == 1
        assert stats(broker).dead == 0

    def test_dead_letters_are_chosen_by_error_and_age(self, broker: EngineBroker) -> None:
        self._bury(broker)
        chosen = {
            DeadFilter(error="VALUEERROR"): 1,
            DeadFilter(error="ba"): 1,
            DeadFilter(error="KeyError"): 0,
            DeadFilter(older_than_s=60): 0,
            DeadFilter(newer_than_s=60): 1,
            DeadFilter(newer_than_s=60, task="other"): 0,
        }
        for only, count in chosen.items():
            assert (broker.count_dead(only), len(broker.dead_letters(only))) == (count, count), only
        assert broker.clear_dead(DeadFilter(older_than_s=60)) == 0
        assert broker.retry_dead(DeadFilter(error="bad"), spread_ms=200) == 1
        assert Client(broker).claim_soon().message.actor_name == "work"

    def test_a_filter_that_names_nothing_is_refused(self, broker: EngineBroker) -> None:
        try:
            DeadFilter()
        except ValueError as error:
            assert "everything=True" in str(error)
        else:
            raise AssertionError("an empty filter was accepted")

    @staticmethod
    def _bury(broker: EngineBroker, **options: Any) -> None:
        broker.enqueue(message(**options))
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(dead(claim))

    # -- sessions --------------------------------------------------------------------------------------

    def test_the_claims_of_a_dead_process_run_again_as_suspects(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        Client(broker, dead_process()).claim()
        assert broker.sweep(identity()) == 1
        (claim,) = Client(broker).claim()
        assert (claim.message_id, claim.deliveries, claim.is_suspect) == (sent.message_id, 1, True)

    def test_the_claims_of_a_living_process_are_not_swept(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        Client(broker).claim()
        assert broker.sweep(identity()) == 0
        assert Client(broker).claim() == []

    def test_a_message_that_keeps_killing_its_process_becomes_a_dead_letter(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        for _ in range(broker.settings.max_deliveries):
            assert len(Client(broker, dead_process()).claim()) == 1
            broker.sweep(identity())
        assert Client(broker).claim() == []
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.reason == "its worker process died 3 times while running it"

    def test_one_suspect_at_a_time_runs_in_a_process(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message() for _ in range(3)])
        Client(broker, dead_process()).claim()
        broker.sweep(identity())
        broker.enqueue(message("innocent"))
        client = Client(broker)
        assert sorted(c.is_suspect for c in client.claim()) == [False, True]
        assert client.claim(suspect=False) == []

    def test_a_session_that_was_swept_is_lost(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker, dead_process())
        (claim,) = client.claim()
        broker.sweep(identity())
        for call in (lambda: client.exchange(done(claim)), lambda: broker.renew(client.session)):
            try:
                call()
            except SessionLost:
                continue
            raise AssertionError("a lost session went on")
        assert broker.holds(claim.message_id)

    def test_closing_a_session_gives_its_claims_back_uncounted(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        client.claim()
        broker.close_session(client.session)
        (claim,) = Client(broker).claim()
        assert claim.deliveries == 0

    def test_a_renewal_tells_what_the_session_holds(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message(), message()])
        client = Client(broker)
        claims = client.claim(count=1)
        assert broker.renew(client.session) == set(ids(claims))

    def test_ids_can_be_given_back_by_name(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message(), message()])
        client = Client(broker)
        first, second = client.claim()
        broker.release(client.session, [first.message_id])
        assert ids(Client(broker).claim()) == [first.message_id]
        assert broker.renew(client.session) == {second.message_id}

    # -- operators -------------------------------------------------------------------------------------

    def test_counts_say_where_every_message_stands(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message() for _ in range(3)])
        broker.enqueue(message(), delay=60_000)
        client = Client(broker)
        first, second = client.claim(count=2)
        client.exchange(retry(second, 60_000), count=0)
        found = stats(broker)
        assert (found.pending, found.scheduled, found.running, found.retrying, found.dead) == (1, 1, 1, 1, 0)
        assert found.oldest_pending_age_s is not None
        assert first.fence == 1

    def test_a_paused_queue_gives_nothing_until_it_is_resumed(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        broker.pause(QUEUE)
        answer = client.exchange()
        assert not answer.claims
        assert answer.paused == {QUEUE}
        broker.resume(QUEUE)
        assert len(client.claim()) == 1

    def test_a_cancelled_message_never_runs(self, broker: EngineBroker) -> None:
        waiting, delayed = broker.enqueue(message()), broker.enqueue(message(), delay=60_000)
        assert broker.cancel(waiting.message_id)
        assert broker.cancel(delayed.message_id)
        assert not broker.cancel("unknown")
        assert Client(broker).claim() == []

    def test_cancelling_a_claimed_message_revokes_it_and_lets_it_go(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        assert not broker.cancel(sent.message_id)
        assert client.exchange(count=0).revoked == {sent.message_id}
        client.exchange(released(claim), count=0)
        assert not broker.holds(sent.message_id)

    def test_peeking_shows_what_runs_next_and_claims_nothing(self, broker: EngineBroker) -> None:
        sent = broker.enqueue_many([message("work", n) for n in range(3)])
        assert [m.message_id for m in broker.peek(QUEUE, 2)] == [m.message_id for m in sent[:2]]
        assert stats(broker).pending == 3

    # -- waiting ---------------------------------------------------------------------------------------

    def test_a_waiting_worker_is_woken_by_an_enqueue(self, broker: EngineBroker) -> None:
        with waiting(broker) as returned:
            assert not returned.wait(0.2)
            broker.enqueue(message())
            assert returned.wait(5)

    def test_a_waiting_worker_is_woken_when_a_message_becomes_due(self, broker: EngineBroker) -> None:
        broker.enqueue(message(), delay=300)
        with waiting(broker) as returned:
            assert returned.wait(5)


@contextmanager
def waiting(broker: EngineBroker) -> Iterator[threading.Event]:
    """A thread that waits as an idle worker does; the event is set when it has something to do."""
    returned = threading.Event()

    def wait() -> None:
        waiter = broker.waiter()
        try:
            waiter.wait((QUEUE,), 10)
            returned.set()
        finally:
            waiter.close()
            broker.close()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield returned
    finally:
        thread.join(15)


@contextmanager
def working(broker: EngineBroker, threads: int = 4, **more: Any) -> Iterator[EngineWorker]:
    """A worker in this process."""
    worker = EngineWorker(broker, worker_threads=threads, **more)
    broker.emit_after("process_boot")
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5_000)


@contextmanager
def settled_events() -> Iterator[list[TaskSettled]]:
    """What settles meanwhile."""
    seen: list[TaskSettled] = []
    stop = task_settled.subscribe(seen.append)
    try:
        yield seen
    finally:
        stop()


@contextmanager
def unlogged() -> Iterator[None]:
    """Log nothing meanwhile: not every test runner can carry every text."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Failing(Exception):
    """What the tasks of this suite raise."""


class WorkerContract:
    """Laws of running tasks, with a worker in this process."""

    def test_a_result_comes_back(self, broker: EngineBroker) -> None:
        add = declare(lambda a, b: a + b, actor_name="add")
        with working(broker):
            assert add.send(1, 2).get_result(block=True, timeout=PATIENCE_MS) == 3

    def test_a_task_that_returns_nothing_has_the_result_none(self, broker: EngineBroker) -> None:
        nothing = declare(lambda: None, actor_name="nothing")
        with working(broker):
            assert nothing.send().get_result(block=True, timeout=PATIENCE_MS) is None

    def test_a_result_that_is_not_there_yet_is_missing_or_times_out(self, broker: EngineBroker) -> None:
        nothing = declare(lambda: None, actor_name="nothing")
        sent = nothing.send()
        looks: list[tuple[type[Exception], Callable[[], Any]]] = [
            (ResultMissing, lambda: sent.get_result()),
            (ResultTimeout, lambda: sent.get_result(block=True, timeout=50)),
        ]
        for error, call in looks:
            try:
                call()
            except error:
                continue
            raise AssertionError(f"expected {error.__name__}")

    def test_a_failing_task_is_retried_after_its_backoff_until_it_succeeds(self, broker: EngineBroker) -> None:
        runs: list[float] = []

        def flaky() -> str:
            runs.append(time.monotonic())
            if len(runs) < 3:
                raise Failing(f"run {len(runs)}")
            return "at last"

        actor = declare(flaky, min_backoff=150, max_backoff=150)
        with working(broker):
            assert actor.send().get_result(block=True, timeout=PATIENCE_MS) == "at last"
        waits = [later - earlier for earlier, later in pairwise(runs)]
        assert len(runs) == 3
        assert min(waits) >= 0.075  # Dramatiq's jitter: half to all of max_backoff

    def test_a_task_without_retries_left_is_a_dead_letter_with_every_traceback(self, broker: EngineBroker) -> None:
        def hopeless() -> None:
            raise Failing("no way")

        actor = declare(hopeless, max_retries=1)
        with working(broker):
            self._expect_failure(actor.send(), "no way")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert (letter.reason, letter.attempts) == ("failed: Failing", 2)
        assert letter.message is not None
        assert [e["text"] for e in letter.message.options["errors"]] == ["no way", "no way"]

    def test_the_configured_number_of_retries_holds_for_a_task_that_names_none(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def hopeless() -> None:
            runs.append(1)
            raise Failing("no way")

        actor = declare(hopeless)
        with working(broker):
            self._expect_failure(actor.send(), "no way")
        assert len(runs) == broker.settings.max_retries + 1

    def test_an_expected_error_is_not_retried(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def strict() -> None:
            runs.append(1)
            raise Failing("bad input")

        actor = declare(strict, throws=(Failing,))
        with working(broker):
            self._expect_failure(actor.send(), "bad input")
        assert len(runs) == 1

    @staticmethod
    def _expect_failure(sent: Message[Any], text: str) -> None:
        try:
            sent.get_result(block=True, timeout=PATIENCE_MS)
        except ResultFailure as error:
            assert text in str(error)
        else:
            raise AssertionError("the task succeeded")

    def test_even_a_system_exit_ends_only_its_task(self, broker: EngineBroker) -> None:
        def leave() -> None:
            raise SystemExit(3)

        actor = declare(leave, max_retries=0)
        add = declare(lambda a: a, actor_name="echo")
        with working(broker, threads=1):
            self._expect_failure(actor.send(), "3")
            assert add.send(5).get_result(block=True, timeout=PATIENCE_MS) == 5

    def test_a_pipeline_passes_each_result_on(self, broker: EngineBroker) -> None:
        add = declare(lambda a, b: a + b, actor_name="add")
        nothing = declare(lambda value: None, actor_name="nothing")
        with working(broker):
            assert (add.message(1, 2) | add.message(4)).run().get_result(block=True, timeout=PATIENCE_MS) == 7
            chain = add.message(1, 2) | nothing.message()
            assert chain.run().get_result(block=True, timeout=PATIENCE_MS) is None

    def test_a_group_runs_all_its_members(self, broker: EngineBroker) -> None:
        double = declare(lambda n: 2 * n, actor_name="double")
        with working(broker):
            members = group([double.message(n) for n in range(10)]).run()
            assert list(members.get_results(block=True, timeout=PATIENCE_MS)) == [2 * n for n in range(10)]

    def test_callbacks_run_once(self, broker: EngineBroker) -> None:
        heard: list[tuple[str, Any]] = []
        declare(lambda _, result: heard.append(("success", result)), actor_name="on_good")
        declare(lambda _, error: heard.append(("failure", error["message"])), actor_name="on_bad")
        declare(lambda _, info: heard.append(("exhausted", info["retries"])), actor_name="on_end")

        def bad() -> None:
            raise Failing("oh")

        good = declare(lambda: 1, actor_name="good", on_success="on_good")
        failing = declare(bad, max_retries=0, on_failure="on_bad", on_retry_exhausted="on_end")
        with working(broker):
            good.send()
            failing.send()
            eventually(lambda: len(heard) == 3)
            eventually(lambda: stats(broker).pending + stats(broker).running == 0)
        assert sorted(heard) == [("exhausted", 0), ("failure", "oh"), ("success", 1)]

    def test_a_send_in_the_body_of_a_failing_task_is_kept(self, broker: EngineBroker) -> None:
        heard: list[int] = []
        other = declare(heard.append, actor_name="other")

        def sender() -> None:
            other.send(1)
            raise Failing("after the send")

        actor = declare(sender, max_retries=0)
        with working(broker):
            self._expect_failure(actor.send(), "after the send")
            eventually(lambda: heard == [1])

    def test_a_task_above_its_time_limit_is_interrupted(self, broker: EngineBroker) -> None:
        def endless() -> None:
            while True:
                time.sleep(0.01)

        actor = declare(endless, max_retries=0, time_limit=200)
        with working(broker):
            self._expect_failure(actor.send(), "TimeLimitExceeded")

    def test_a_message_above_its_age_limit_is_a_dead_letter(self, broker: EngineBroker) -> None:
        old = declare(lambda: None, actor_name="old", max_age=50)
        sent = old.send_with_options(delay=200)
        with working(broker):
            self._expect_failure(sent, "max_age")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.reason == "age limit"

    def test_a_hook_that_breaks_after_a_task_makes_it_run_again(self, broker: EngineBroker) -> None:
        class Breaking(Middleware):
            calls = 0

            def after_process_message(self, *args: Any, **kwargs: Any) -> None:
                Breaking.calls += 1
                if Breaking.calls == 1:
                    raise Failing("hook")

        runs: list[int] = []
        broker.add_middleware(Breaking())
        actor = declare(lambda: runs.append(1), actor_name="counted")
        with working(broker):
            actor.send()
            eventually(lambda: len(runs) == 2)
            eventually(lambda: stats(broker).retrying + stats(broker).running == 0)

    def test_the_current_message_is_known_inside_a_task(self, broker: EngineBroker) -> None:
        def who() -> str:
            current = CurrentMessage.get_current_message()
            assert current is not None
            return current.message_id

        actor = declare(who)
        with working(broker):
            sent = actor.send()
            assert sent.get_result(block=True, timeout=PATIENCE_MS) == sent.message_id

    def test_an_async_task_runs_and_can_send(self, broker: EngineBroker) -> None:
        echo = declare(lambda n: n, actor_name="echo")

        async def relay(n: int) -> str:
            await asyncio.sleep(0.01)
            sent: Message[Any] = await echo.asend(n)  # type: ignore[attr-defined]  # actors of our brokers have it
            return sent.message_id

        actor: Any = declare(relay)
        with working(broker):
            inner = actor.send(9).get_result(block=True, timeout=PATIENCE_MS)
            eventually(lambda: broker.load_result(inner) == (True, 9))

    def test_an_actor_can_be_called_directly(self, broker: EngineBroker) -> None:
        add = declare(lambda a, b: a + b, actor_name="add")
        assert add(1, 2) == 3

    def test_an_unknown_task_waits_and_harms_nobody(self, broker: EngineBroker) -> None:
        echo = declare(lambda n: n, actor_name="echo")
        broker.enqueue(message("of_a_newer_release"))
        with working(broker):
            assert echo.send(1).get_result(block=True, timeout=PATIENCE_MS) == 1
            eventually(lambda: stats(broker).retrying == 1)

    def test_an_unknown_option_of_a_send_is_refused_with_the_nearest_name(self, broker: EngineBroker) -> None:
        echo = declare(lambda n: n, actor_name="echo")
        try:
            echo.send_with_options(args=(1,), max_retry=3)
        except InvalidTaskOption as error:
            assert str(error) == "task echo: unknown option 'max_retry'; did you mean 'max_retries'?"
        else:
            raise AssertionError("max_retry was accepted")

    def test_a_stopping_worker_finishes_what_runs_and_gives_the_rest_back(self, broker: EngineBroker) -> None:
        ended: list[int] = []

        def slow(n: int) -> None:
            time.sleep(0.3)
            ended.append(n)

        actor = declare(slow)
        with working(broker, threads=2) as worker:
            broker.enqueue_many([actor.message(n) for n in range(6)])
            eventually(lambda: stats(broker).running >= 2)
            worker.stop(timeout=5_000)
        assert stats(broker).running == 0
        assert len(ended) + stats(broker).pending == 6
        assert ended

    def test_a_task_that_does_not_end_in_time_is_given_back_uncounted(self, broker: EngineBroker) -> None:
        let_go = threading.Event()
        actor = declare(lambda: let_go.wait(20), actor_name="stubborn")
        sent = actor.send()
        with working(broker, threads=1) as worker:
            eventually(lambda: stats(broker).running == 1)
            worker.stop(timeout=100)
            let_go.set()
            eventually(lambda: not any(thread.is_alive() for thread in worker.workers))
        (claim,) = Client(broker).claim()
        assert (claim.message_id, claim.deliveries) == (sent.message_id, 0)

    def test_an_error_text_that_no_store_takes_is_still_recorded(self, broker: EngineBroker) -> None:
        def nasty() -> None:
            raise Failing("NUL \0 and surrogate \ud800")

        actor = declare(nasty, max_retries=0)
        with unlogged(), working(broker):
            self._expect_failure(actor.send(), "NUL")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.error == "NUL \\x00 and surrogate \\ud800"

    def test_a_result_that_is_not_json_fails_no_task_and_says_why(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def odd() -> set[int]:
            runs.append(1)
            return {1}

        actor = declare(odd)
        with working(broker):
            self._expect_failure(actor.send(), "the result of odd: set is not JSON; pass a list")
        assert len(runs) == 1
        assert stats(broker).dead == 0

    def test_an_outcome_that_cannot_be_stored_becomes_a_dead_letter_and_stops_nobody(
        self, broker: EngineBroker
    ) -> None:
        class Spoiling(Middleware):
            def before_process_message(self, broker: Any, message: Any) -> None:
                if message.actor_name == "spoiled":
                    message.options["odd"] = object()

        def spoiled() -> None:
            raise Failing("and its retry is not JSON")

        broker.add_middleware(Spoiling())
        actor, echo = declare(spoiled), declare(lambda n: n, actor_name="echo")
        with working(broker):
            actor.send()
            assert echo.send(1).get_result(block=True, timeout=PATIENCE_MS) == 1
            eventually(lambda: stats(broker).dead == 1)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.reason == "could not be handled: NotSerializable"

    def test_an_outcome_that_the_broker_does_not_take_holds_up_nobody(self, broker: EngineBroker) -> None:
        echo = declare(lambda n: n, actor_name="echo")
        with working(broker, threads=1) as worker:
            worker.pause()
            sent = broker.enqueue(message("echo", 0))
            claim = Claim(sent, 1, 0, 0, 0, 0, 0.0)
            spoiled = replace(sent, options={"odd": object()})
            worker.exchange.put(Outcome(claim, Kind.RETRY, spoiled))
            worker.resume()
            assert echo.send(1).get_result(block=True, timeout=PATIENCE_MS) == 1

    def test_every_task_settles_once_under_load(self, broker: EngineBroker) -> None:
        runs: list[int] = []
        actor = declare(runs.append, actor_name="note")
        with settled_events() as seen, working(broker, threads=8), working(broker, threads=8):
            broker.enqueue_many([actor.message(n) for n in range(500)])
            eventually(lambda: len(seen) >= 500, within_s=30)
        assert sorted(runs) == list(range(500))
        assert {event.kind for event in seen} == {Kind.DONE}

    def test_waits_and_run_times_are_measured(self, broker: EngineBroker) -> None:
        actor = declare(lambda: time.sleep(0.05), actor_name="sleepy")
        with settled_events() as seen:
            actor.send()
            eventually(lambda: (stats(broker).oldest_pending_age_s or 0) >= 0.05)
            with working(broker):
                eventually(lambda: len(seen) == 1)
        assert seen[0].run_ms >= 50
        assert seen[0].wait_ms >= 50
        assert replace(seen[0], kind=Kind.DONE) == seen[0]
