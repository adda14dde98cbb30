"""Laws of what surrounds a task: pipelines, callbacks, limits, hooks, stopping."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

from django.db import connections
from dramatiq import Message, group
from dramatiq.middleware import CurrentMessage, Middleware

from django_cfg.errors import InvalidTaskOption
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    Claim,
    DeadFilter,
    Outcome,
)
from django_cfg.tasks.lifecycle import Kind
from django_cfg.testing.contracts.tools import (
    PATIENCE_MS,
    Client,
    Failing,
    at_rest,
    declare,
    expect_failure,
    message,
    settled_events,
    stats,
    unlogged,
    working,
)
from django_cfg.testing.waiting import eventually


class ComposingLaws:
    """Laws of what surrounds a task: pipelines, callbacks, limits, hooks, stopping."""

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

    def test_a_group_is_complete_once_and_says_so(self, broker: EngineBroker) -> None:
        heard: list[str] = []
        double = declare(lambda n: 2 * n, actor_name="double")
        note = declare(heard.append, actor_name="note")
        members = group([*(double.message(n) for n in range(5)), double.message(1) | double.message()])
        members.add_completion_callback(note.message("one"))
        members.add_completion_callback(note.message("two"))
        with working(broker):
            members.run()
            eventually(lambda: len(heard) >= 2)
            members.run()  # a second run is a group of its own
            eventually(lambda: len(heard) >= 4)
            eventually(lambda: at_rest(broker))
        assert sorted(heard) == ["one", "one", "two", "two"]

    def test_a_group_with_a_dead_member_is_complete_when_that_was_retried(self, broker: EngineBroker) -> None:
        heard: list[str] = []
        runs: list[int] = []

        def fails_once() -> None:
            runs.append(1)
            if len(runs) == 1:
                raise Failing("oh")

        good = declare(lambda: None, actor_name="good")
        bad = declare(fails_once, max_retries=0)
        members = group([good.message(), bad.message(), good.message()])
        members.add_completion_callback(declare(heard.append, actor_name="note").message("done"))
        with working(broker):
            members.run()
            eventually(lambda: stats(broker).dead == 1)
            eventually(lambda: at_rest(broker))
            assert heard == []
            assert broker.retry_dead(DeadFilter(task="fails_once")) == 1
            eventually(lambda: heard == ["done"])

    def test_only_the_member_that_came_last_completes_a_group_and_always_does(self, broker: EngineBroker) -> None:
        assert broker.open_group("g", 3, 60_000)
        assert not broker.open_group("g", 3, 60_000)
        assert [broker.arrive("g", member) for member in ("a", "a", "b")] == [False, False, False]
        assert [broker.arrive("g", member) for member in ("c", "c", "b")] == [True, True, False]
        assert not broker.arrive("unknown", "a")

    def test_members_that_arrive_together_complete_a_group_once(self, broker: EngineBroker) -> None:
        broker.open_group("crowd", 8, 60_000)
        last: list[bool] = []

        def arrive(n: int) -> None:
            try:
                last.append(broker.arrive("crowd", f"member-{n}"))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=arrive, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(last) == [False] * 7 + [True]

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
            eventually(lambda: at_rest(broker))
        assert sorted(heard) == [("exhausted", 0), ("failure", "oh"), ("success", 1)]

    def test_a_send_in_the_body_of_a_failing_task_is_kept(self, broker: EngineBroker) -> None:
        heard: list[int] = []
        other = declare(heard.append, actor_name="other")

        def sender() -> None:
            other.send(1)
            raise Failing("after the send")

        actor = declare(sender, max_retries=0)
        with working(broker):
            expect_failure(actor.send(), "after the send")
            eventually(lambda: heard == [1])

    def test_a_task_above_its_time_limit_is_interrupted(self, broker: EngineBroker) -> None:
        def endless() -> None:
            while True:
                time.sleep(0.01)

        actor = declare(endless, max_retries=0, time_limit=200)
        with working(broker):
            expect_failure(actor.send(), "TimeLimitExceeded")

    def test_a_message_above_its_age_limit_is_a_dead_letter(self, broker: EngineBroker) -> None:
        old = declare(lambda: None, actor_name="old", max_age=50)
        sent = old.send_with_options(delay=200)
        with working(broker):
            expect_failure(sent, "max_age")
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
            eventually(lambda: at_rest(broker))

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
            eventually(lambda: stats(broker).retrying in (1, None))

    def test_an_unknown_option_of_a_send_is_refused_with_the_nearest_name(self, broker: EngineBroker) -> None:
        echo = declare(lambda n: n, actor_name="echo")
        try:
            echo.send_with_options(args=(1,), max_retry=3)
        except InvalidTaskOption as error:
            assert str(error) == "task echo: unknown option 'max_retry'; did you mean 'max_retries'?"
        else:
            raise AssertionError("max_retry was accepted")

    def test_a_stopping_worker_finishes_what_runs_and_gives_the_rest_back(self, broker: EngineBroker) -> None:
        started: list[int] = []
        ended: list[int] = []

        def slow(n: int) -> None:
            started.append(n)
            time.sleep(0.3)
            ended.append(n)

        actor = declare(slow)
        with working(broker, threads=2) as worker:
            broker.enqueue_many([actor.message(n) for n in range(6)])
            eventually(lambda: len(started) == 2)  # claimed is not started: that would be given back
            worker.stop(timeout=5_000)
        assert stats(broker).running in (0, None)
        assert sorted(ended) == sorted(started)
        assert len(ended) + stats(broker).pending == 6

    def test_a_task_that_does_not_end_in_time_is_given_back_uncounted(self, broker: EngineBroker) -> None:
        began, let_go = threading.Event(), threading.Event()

        def stubborn() -> None:
            began.set()
            let_go.wait(20)

        actor = declare(stubborn)
        sent = actor.send()
        with working(broker, threads=1) as worker:
            assert began.wait(10)
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
            expect_failure(actor.send(), "NUL")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.error == "NUL \\x00 and surrogate \\ud800"

    def test_a_result_that_is_not_json_fails_no_task_and_says_why(self, broker: EngineBroker) -> None:
        runs: list[int] = []

        def odd() -> set[int]:
            runs.append(1)
            return {1}

        actor = declare(odd)
        with working(broker):
            expect_failure(actor.send(), "the result of odd: set is not JSON; pass a list")
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
            eventually(lambda: len(runs) >= 500, within_s=30)
        assert sorted(runs) == list(range(500))
        done = [event.message_id for event in seen if event.kind is Kind.DONE]
        assert len(done) == len(set(done)) == 500
        # On a busy machine a claim may wait too long for a thread and go to the other worker.
        assert {event.kind for event in seen} <= {Kind.DONE, Kind.RELEASED}

    def test_waits_and_run_times_are_measured(self, broker: EngineBroker) -> None:
        actor = declare(lambda: time.sleep(0.05), actor_name="sleepy")
        with settled_events() as seen:
            actor.send()
            sent_at = time.monotonic()
            eventually(lambda: time.monotonic() - sent_at >= 0.05)
            with working(broker):
                eventually(lambda: len(seen) == 1)
        assert seen[0].run_ms >= 50
        assert seen[0].wait_ms >= 50
        assert replace(seen[0], kind=Kind.DONE) == seen[0]
