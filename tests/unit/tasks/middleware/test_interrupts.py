"""Time limits and shutdown notices reach a task, that task, and never anything else."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.interrupts import EngineTimeLimit, TaskSlot, interrupt
from django_cfg.testing.contracts import settled_events, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 500 * int(os.environ.get("PROCESS_TEST_SCALE", "1"))


def ended(settled: list[TaskSettled]) -> list[TaskSettled]:
    """Without those that were given back before they started."""
    return [event for event in settled if event.kind is not Kind.RELEASED]


def always() -> bool:
    return True


class InThread:
    """A thread that enters its slot and spins until it is told to leave."""

    def __init__(self, tasks: int = 1) -> None:
        self.caught: list[type[BaseException]] = []
        self.inside, self.leave = threading.Event(), threading.Event()
        self.ended = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        slot = TaskSlot()
        self.ident = threading.get_ident()
        try:
            slot.enter()
            self.inside.set()
            while not self.leave.is_set():
                time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001 - what is thrown is what is tested
            self.caught.append(type(error))
        finally:
            slot.leave()
            slot.close()
        for _ in range(10_000):
            pass  # anything still on its way would arrive here
        self.ended = True

    def join(self) -> None:
        self.leave.set()
        self._thread.join(5)


def test_a_task_is_interrupted_once() -> None:
    thread = InThread()
    thread.inside.wait(5)
    assert interrupt(thread.ident, TimeLimitExceeded, always)
    thread.join()
    assert not interrupt(thread.ident, TimeLimitExceeded, always)
    assert (thread.caught, thread.ended) == ([TimeLimitExceeded], True)


def test_a_task_other_than_the_one_that_was_meant_is_left_alone() -> None:
    thread = InThread()
    thread.inside.wait(5)
    assert not interrupt(thread.ident, Shutdown, lambda: False)
    thread.join()
    assert (thread.caught, thread.ended) == ([], True)


def test_a_throw_that_meets_the_end_of_its_task_never_arrives_later() -> None:
    for _ in range(200):
        thread = InThread()
        thread.inside.wait(5)
        thread.leave.set()
        interrupt(thread.ident, TimeLimitExceeded, always)
        thread.join()
        assert thread.ended


def test_the_deadline_of_an_ended_task_does_not_hit_the_next_one_of_its_thread() -> None:
    deadlines: Any = EngineTimeLimit().manager
    thread = InThread()
    thread.inside.wait(5)
    deadlines.add_timeout(thread.ident, 0)
    expired = deadlines._deadlines[thread.ident]
    deadlines.add_timeout(thread.ident, 60_000)  # the next task has begun
    assert not interrupt(thread.ident, TimeLimitExceeded, lambda: deadlines._is_due(thread.ident, expired))
    thread.join()
    assert thread.caught == []


# One that arrives while Python runs the callback of a weak reference is printed and dropped by the interpreter.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_time_limits_that_race_completion_cost_no_thread_and_no_verdict(stub: EngineBroker) -> None:
    [limits] = [m for m in stub.middleware if isinstance(m, EngineTimeLimit)]
    limits.manager._interval_s = 0.0005
    outside: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda args: outside.append(str(args))

    @dramatiq.actor(max_retries=0, time_limit=2)
    def around(number: int) -> None:
        until = time.monotonic() + (number % 7) * 0.0005 + 0.0005
        while time.monotonic() < until:
            pass

    @dramatiq.actor(max_retries=0)
    def without_limit() -> None:
        for _ in range(200):
            pass

    messages = [m for n in range(COUNT) for m in (around.message(n), without_limit.message())]
    try:
        with settled_events() as settled, working(stub, threads=4) as worker:
            stub.enqueue_many(messages)
            eventually(lambda: len(ended(settled)) >= len(messages), within_s=60)
            assert all(thread.is_alive() for thread in worker.workers)
            eventually(lambda: worker.exchange.is_idle)
    finally:
        threading.excepthook = before
    assert outside == []
    assert set(Counter(event.message_id for event in ended(settled)).values()) == {1}
    ends = Counter((event.task, event.kind.value, event.error_type) for event in ended(settled))
    assert ends[("without_limit", "done", "")] == COUNT  # a limit never hits somebody else's task
    assert ends[("around", "dead", "TimeLimitExceeded")] > 0
    assert ends[("around", "done", "")] > 0
    assert sum(ends.values()) == 2 * COUNT
    assert set(ends) <= {
        ("without_limit", "done", ""),
        ("around", "done", ""),
        ("around", "dead", "TimeLimitExceeded"),
    }
