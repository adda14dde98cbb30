"""Only hooks that have nothing to do are left out."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import Callbacks, Middleware

from django_cfg.tasks.brokers import codec, stack
from django_cfg.tasks.brokers.collector import Collector
from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage
from django_cfg.tasks.brokers.hooks import AFTER, BEFORE, HEEDED, QUIET, Hook, Hooks
from django_cfg.tasks.brokers.stub import StubBroker
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.middleware.age_limit import EngineAgeLimit
from django_cfg.tasks.middleware.interrupts import EngineShutdownNotifications
from django_cfg.tasks.middleware.record import Record
from django_cfg.tasks.records.policy import Policy


@pytest.fixture
def broker() -> StubBroker:
    settings = TaskSettings()
    middleware, results = stack.build(settings)
    broker = StubBroker(settings, middleware)
    results.broker = broker
    dramatiq.actor(lambda: None, actor_name="work", broker=broker)
    return broker


def message(**options: Any) -> ClaimedMessage:
    sent: dramatiq.Message[Any] = dramatiq.Message("default", "work", (), {}, options)
    return ClaimedMessage(Claim(sent, 1, 0, 1, 0, 0, 0.0, body=codec.encode(sent)))


def names(hooks: list[Hook]) -> set[str]:
    return {hook.name for hook in hooks}


def left_out(broker: StubBroker, name: str) -> list[Hook]:
    hooks = Hooks(broker.middleware)
    called = hooks.around_task(name, {}, {})
    return [hook for hook in hooks.of(name) if hook not in called]


def test_what_is_left_out_around_a_plain_task(broker: StubBroker) -> None:
    assert names(left_out(broker, BEFORE)) == {"EngineAgeLimit", "EngineShutdownNotifications", "Record"}
    assert names(left_out(broker, AFTER)) == {one.__name__ for one in QUIET} - {"EngineAgeLimit", "Record"}


def test_the_others_are_called_in_their_order(broker: StubBroker) -> None:
    hooks = Hooks(broker.middleware)
    for name in (BEFORE, AFTER):
        called = hooks.around_task(name, {}, {})
        assert called == [hook for hook in hooks.of(name) if hook in called]


def state(collector: Collector, message: ClaimedMessage) -> tuple[Any, ...]:
    noted = [repr(getattr(collector, field.name)) for field in fields(collector)]
    return noted, dict(message.options), message.failed


@pytest.mark.parametrize("name", [BEFORE, AFTER])
def test_what_is_left_out_would_have_done_nothing(broker: StubBroker, name: str) -> None:
    plain = message()
    collector = broker.begin(plain.claim)
    collector.is_open = True
    before = state(collector, plain)
    for hook in left_out(broker, name):
        hook.call(broker, plain, **({"result": None} if name == AFTER else {}))
    assert state(collector, plain) == before
    assert [stats.living for stats in broker.queue_stats()] == [0]
    shutdown = next(one for one in broker.middleware if isinstance(one, EngineShutdownNotifications))
    assert not shutdown.manager._threads


@pytest.mark.parametrize("option", sorted(HEEDED - {""}))
@pytest.mark.parametrize("name", [BEFORE, AFTER])
def test_nothing_is_left_out_where_a_task_or_a_message_names_an_option(
    broker: StubBroker, option: str, name: str
) -> None:
    hooks = Hooks(broker.middleware)
    assert hooks.around_task(name, {option: 1}, {}) == hooks.of(name)
    assert hooks.around_task(name, {}, {option: 1}) == hooks.of(name)


@pytest.mark.parametrize(
    "middleware",
    [
        EngineAgeLimit(max_age=1000),
        EngineShutdownNotifications(notify_shutdown=True),
        Record(Policy.ALL, "default"),
    ],
)
def test_what_holds_for_every_task_is_never_left_out(middleware: Middleware) -> None:
    hooks = Hooks([middleware])
    for name in (BEFORE, AFTER):
        assert hooks.around_task(name, {}, {}) == hooks.of(name)


def test_a_class_that_inherits_may_do_more() -> None:
    class Loud(Callbacks):
        pass

    hooks = Hooks([Loud()])
    assert names(hooks.around_task(AFTER, {}, {})) == {"Loud"}


def test_a_value_is_given_to_every_hook(broker: StubBroker) -> None:
    seen: list[Any] = []

    class Listening(Callbacks):
        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
        ) -> None:
            seen.append((result, broker.collecting() is not None))

    broker.add_middleware(Listening())
    kept = message()
    collector = broker.begin(kept.claim)
    broker.emit_after_task(kept, collector, 7)
    assert collector.result is not None
    assert collector.result.value == 7
    assert seen == [(7, True)]
    assert broker.collecting() is None


def test_a_hook_that_breaks_after_a_task_is_noted_and_the_next_ones_are_called(broker: StubBroker) -> None:
    class Breaks(Middleware):
        def after_process_message(self, *args: Any, **told: Any) -> None:
            raise OSError("broken")

    called: list[str] = []

    class Counts(Middleware):
        def after_process_message(self, *args: Any, **told: Any) -> None:
            called.append("counts")

    broker.add_middleware(Counts(), before=EngineAgeLimit)
    broker.add_middleware(Breaks())
    plain = message()
    collector = broker.begin(plain.claim)
    broker.emit_after_task(plain, collector, None)
    assert [str(error) for error in collector.hook_errors] == ["broken"]
    assert called == ["counts"]
