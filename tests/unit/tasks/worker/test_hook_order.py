"""Middleware sees our worker call its hooks as Dramatiq's own worker does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import CurrentMessage, Middleware, Retries, SkipMessage

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import working
from django_cfg.testing.waiting import eventually

EVENTS = ("enqueue", "process_message", "skip_message", "ack", "nack")
HOOKS = [f"{when}_{event}" for event in EVENTS for when in ("before", "after")]
pytestmark = pytest.mark.django_db(transaction=True)


class Probe(Middleware):
    """Notes each hook with what it was told."""

    def __init__(self, name: str, calls: dict[str, list[Any]]) -> None:
        for hook in HOOKS:
            setattr(self, hook, self._noting(name, hook, calls))

    def _noting(self, name: str, hook: str, calls: dict[str, list[Any]]) -> Callable[..., None]:
        def note(broker: Any, message: Any, *rest: Any, **told: Any) -> None:
            end = {key: repr(value) for key, value in told.items() if value is not None}
            calls[message.message_id].append((name, hook, message.options.get("retries", 0), end))
            if hook == "before_process_message" and message.options.get("skip_me") and name == "inner":
                raise SkipMessage("asked for")
            if hook == "before_process_message" and message.options.get("fail_me") and name == "inner":
                message.fail()

        return note


for _hook in HOOKS:  # hooks are looked up on the class
    setattr(Probe, _hook, lambda self, *a, _hook=_hook, **k: self.__dict__[_hook](*a, **k))


class Options(Middleware):
    @property
    def actor_options(self) -> set[str]:
        return {"skip_me", "fail_me"}


def declare(broker: dramatiq.Broker) -> dict[str, Any]:
    attempts: dict[str, int] = defaultdict(int)

    def fails_once() -> str:
        attempts["once"] += 1
        if attempts["once"] == 1:
            raise ValueError("first")
        return "second"

    def fails() -> None:
        raise ValueError("always")

    def exits() -> None:
        raise SystemExit(3)

    def retries_itself() -> None:
        attempts["self"] += 1
        if attempts["self"] == 1:
            raise dramatiq.errors.Retry("please", delay=1)

    known: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
        "success": (lambda: 7, {}),
        "retry": (fails_once, {"max_retries": 3}),
        "final": (fails, {"max_retries": 0}),
        "exhausted": (fails, {"max_retries": 1}),
        "throws": (fails, {"max_retries": 3, "throws": (ValueError,)}),
        "skip": (lambda: 7, {"skip_me": True}),
        "fail": (lambda: 7, {"fail_me": True}),
        "exit": (exits, {"max_retries": 0}),
        "asked": (retries_itself, {"max_retries": 3}),
    }
    short = {"min_backoff": 1, "max_backoff": 2}
    return {
        name: dramatiq.actor(fn, actor_name=name, broker=broker, **short, **options)
        for name, (fn, options) in known.items()
    }


def prepared(broker: dramatiq.Broker) -> dict[str, list[Any]]:
    calls: dict[str, list[Any]] = defaultdict(list)
    broker.middleware.clear()
    for middleware in (Options(), Probe("outer", calls), Retries(), CurrentMessage(), Probe("inner", calls)):
        broker.add_middleware(middleware)
    return calls


@contextmanager
def stock() -> Iterator[tuple[dramatiq.Broker, dict[str, list[Any]]]]:
    broker = StubBroker(middleware=[])
    calls = prepared(broker)
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    try:
        yield broker, calls
    finally:
        worker.stop()


@contextmanager
def ours(broker: EngineBroker) -> Iterator[tuple[dramatiq.Broker, dict[str, list[Any]]]]:
    calls = prepared(broker)
    with working(broker, threads=1):
        yield broker, calls


def sequence(broker: dramatiq.Broker, calls: dict[str, list[Any]], name: str, verdicts: int) -> list[Any]:
    """The hooks of one message, once it was acknowledged or refused so many times."""
    actor = declare(broker)[name]
    given = {k: v for k, v in actor.options.items() if k in ("skip_me", "fail_me")}
    seen = calls[actor.send_with_options(**given).message_id]
    eventually(lambda: sum(c[:2] in LAST for c in list(seen)) == verdicts)
    return seen


LAST = (("outer", "after_ack"), ("outer", "after_nack"))


@pytest.mark.parametrize("name", ["success", "final", "throws", "skip", "fail", "exit"])
def test_every_hook_of_a_message_that_is_not_retried_comes_as_in_dramatiq(stub: EngineBroker, name: str) -> None:
    with stock() as (broker, calls):
        expected = sequence(broker, calls, name, 1)
    with ours(stub) as (broker, calls):
        assert sequence(broker, calls, name, 1) == expected


@pytest.mark.parametrize("name", ["retry", "exhausted", "asked"])
def test_the_hooks_of_each_run_of_a_retried_message_come_as_in_dramatiq(stub: EngineBroker, name: str) -> None:
    """Dramatiq holds a delayed message in a queue of its own, whose enqueue and ack do not exist here."""
    with stock() as (broker, calls):
        expected = sequence(broker, calls, name, 3)
    with ours(stub) as (broker, calls):
        found = sequence(broker, calls, name, 2)
    assert _runs(found) == _runs(expected)
    assert found[-1][1] == expected[-1][1]
    retried = [c[1] for c in found if c[1].endswith("enqueue")]
    assert retried == ["before_enqueue", "before_enqueue", "after_enqueue", "after_enqueue"] * 2


def _runs(seen: list[Any]) -> list[Any]:
    return [c for c in seen if c[1].endswith(("process_message", "skip_message", "nack"))]
