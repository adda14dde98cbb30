"""One message, one task or one error that nobody foresaw harms nobody else."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pytest
from dramatiq import Message, pipeline
from dramatiq.middleware import Middleware, SkipMessage
from dramatiq.results import ResultFailure

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo, FollowUp
from django_cfg.tasks.lifecycle import Kind
from django_cfg.testing.contracts import settled_events, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The runner cannot carry half characters in captured logs."""
    caplog.set_level(logging.CRITICAL + 1)


class Unspeakable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def dead(broker: EngineBroker) -> list[DeadLetterInfo]:
    return broker.dead_letters(DeadFilter(everything=True))


def innocent() -> tuple[Any, threading.Event]:
    ran = threading.Event()

    @dramatiq.actor(actor_name="innocent")
    def work() -> None:
        ran.set()

    return work, ran


def failing_with(error: BaseException) -> Any:
    @dramatiq.actor(actor_name="failing", max_retries=0)
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        ValueError("a NUL \x00 inside"),
        ValueError("half a character \udcff"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=["unspeakable", "nul", "surrogate", "unicode"],
)
def test_an_error_with_an_impossible_text_is_a_dead_letter_like_any_other(
    any_broker: EngineBroker, error: Exception
) -> None:
    work, ran = innocent()
    failing_with(error).send()
    with working(any_broker, threads=1):
        eventually(lambda: dead(any_broker))
        work.send()
        assert ran.wait(15)


@pytest.mark.parametrize("value", [object(), {1, 2, object()}, "half \udcff"], ids=["object", "set", "surrogate"])
def test_a_result_that_is_not_json_is_an_error_for_its_reader_and_no_failure_of_its_task(
    any_broker: EngineBroker, value: Any
) -> None:
    returns = dramatiq.actor(lambda: value, actor_name="returns")
    work, ran = innocent()
    message = returns.send()
    with settled_events() as settled, working(any_broker, threads=2):
        with pytest.raises(ResultFailure, match=r"the result of returns.* is not JSON"):
            message.get_result(block=True, timeout=15_000)
        work.send()
        assert ran.wait(15)
        eventually(lambda: [event.kind for event in settled if event.task == "returns"] == [Kind.DONE])


def test_a_pipeline_step_that_returns_no_json_harms_nobody(any_broker: EngineBroker) -> None:
    @dramatiq.actor(max_retries=1)
    def first() -> Any:
        return object()

    @dramatiq.actor
    def second(value: Any) -> None:
        """Never reached."""

    work, ran = innocent()
    pipeline([first.message(), second.message()]).run()
    with working(any_broker, threads=2):
        eventually(lambda: dead(any_broker))
        work.send()
        assert ran.wait(15)


def test_a_retry_runs_with_the_arguments_that_were_sent(any_broker: EngineBroker) -> None:
    seen = []

    @dramatiq.actor(max_retries=2)
    def changes(items: list[Any], *, options: dict[str, Any]) -> None:
        seen.append((list(items), dict(options)))
        items.append(object())
        options["when"] = datetime.now(UTC)
        if len(seen) < 3:
            raise ValueError("again")

    changes.send([1, 2], options={"a": 1})
    with working(any_broker, threads=1):
        eventually(lambda: len(seen) == 3)
    assert seen == [([1, 2], {"a": 1})] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"retries": "many"},
        {"retries": None},
        {"errors": 7},
        {"errors": {"a": 1}},
        {"throws": ["ValueError"]},
        {"max_age": "old", "time_limit": "long"},
        {"max_retries": "x", "min_backoff": "y"},
        {"pipe_target": "nobody"},
        {"on_success": 3, "on_failure": {}},
        {"group_completion_uuid": "x", "group_completion_callbacks": 1},
        {"result_ttl": "x", "store_results": "y"},
        {"notify_shutdown": []},
        {"eta": "soon", "delay": []},
    ],
    ids=lambda options: "+".join(options),
)
@pytest.mark.parametrize("fails", [False, True], ids=["fine", "failing"])
def test_a_message_with_absurd_options_costs_no_thread(stub: EngineBroker, options: Any, fails: bool) -> None:
    @dramatiq.actor(max_retries=0)
    def target() -> int:
        if fails:
            raise ValueError("on purpose")
        return 1

    work, ran = innocent()
    stub.store([FollowUp(Message("default", "target", (), {}, options)) for _ in range(3)])
    with working(stub, threads=1) as worker:
        work.send()
        assert ran.wait(15)
        eventually(lambda: worker.exchange.is_idle)
        assert all(thread.is_alive() for thread in worker.workers)
    assert stub.queue_stats()[0].running == 0


@pytest.mark.parametrize("since", ["yesterday", None, [], {}, True])
def test_an_unknown_task_with_an_absurd_mark_does_not_strand_its_neighbours(stub: EngineBroker, since: Any) -> None:
    work, ran = innocent()
    stub.store([FollowUp(Message("default", "nobody", (), {}, {"unknown_since": since}))])
    work.send()
    with working(stub, threads=4) as worker:
        assert ran.wait(15)
        eventually(lambda: worker.exchange.is_idle)


def test_a_hook_that_raises_around_the_release_costs_no_thread(stub: EngineBroker) -> None:
    class Broken(Middleware):
        def before_ack(self, broker: Any, message: Any) -> None:
            if message.actor_name == "target":
                raise SkipMessage("too late")

        def after_process_message(self, broker: Any, message: Any, **end: Any) -> None:
            if message.actor_name == "exits":
                raise SystemExit(3)

    stub.add_middleware(Broken())
    target = dramatiq.actor(lambda: None, actor_name="target", max_retries=0)
    exits = dramatiq.actor(lambda: None, actor_name="exits", max_retries=0)
    work, ran = innocent()
    target.send()
    exits.send()
    with working(stub, threads=1) as worker:
        work.send()
        assert ran.wait(15)
        eventually(lambda: worker.exchange.is_idle)
