"""A running task that an operator cancels hears of it, and stops when it looks."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from dramatiq.results import ResultFailure

from django_cfg.errors import TaskCancelled
from django_cfg.tasks import actions, current_task
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.models import TaskRecord
from django_cfg.testing.contracts import Client, declare, done, message, stats, unlogged, working
from django_cfg.testing.waiting import eventually
from tests.contract.conftest import serving

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
BROKERS = [
    "stub_broker",
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("redis_broker", marks=pytest.mark.redis),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EngineBroker]:
    yield request.getfixturevalue(request.param)
    connections.close_all()


def is_empty(broker: EngineBroker) -> bool:
    found = stats(broker)
    return found.pending + found.running + found.retrying + found.scheduled + found.dead == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_running_task_that_looks_stops_and_is_cancelled(broker: EngineBroker, threads: int) -> None:
    """With one thread nothing else makes the worker talk to the broker."""
    started, stop = threading.Event(), threading.Event()
    attempts: list[int] = []

    def patient() -> None:
        attempts.append(1)
        started.set()
        while not stop.wait(0.01):
            current_task().raise_if_cancelled()

    task = declare(patient)
    with working(broker, threads=threads):
        sent = task.send()
        assert started.wait(15)
        try:
            assert actions.cancel_many([sent.message_id, "unknown"]) == (0, 1)
            with pytest.raises(ResultFailure, match="cancelled"):
                sent.get_result(block=True, timeout=15_000)
            eventually(lambda: is_empty(broker), within_s=15)
        finally:
            stop.set()
    assert attempts == [1]


def test_a_task_that_stops_before_anybody_can_look_again_was_asked(
    stub_broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, worker, cancel = stub_broker.enqueue(message()), Client(stub_broker), stub_broker.cancel
    (claim,) = worker.claim()

    def cancel_and_stop(message_id: str) -> bool:
        is_taken = cancel(message_id)
        worker.exchange(done(claim), count=0)
        return is_taken

    monkeypatch.setattr(stub_broker, "cancel", cancel_and_stop)
    assert actions.cancel_many([sent.message_id]) == (0, 1)


def test_a_task_that_does_not_look_ends_as_it_would(broker: EngineBroker) -> None:
    started, stop, seen = threading.Event(), threading.Event(), threading.Event()

    def deaf() -> str:
        started.set()
        while not stop.wait(0.01):
            if current_task().is_cancelled:
                seen.set()
        return "done"

    task = declare(deaf)
    with working(broker, threads=1):
        sent = task.send()
        assert started.wait(15)
        actions.cancel(sent.message_id)
        assert seen.wait(15)
        stop.set()
        assert sent.get_result(block=True, timeout=15_000) == "done"


@pytest.mark.rabbitmq
@pytest.mark.parametrize("attempt", [1, 2])
def test_the_record_of_a_task_that_ran_to_its_end_says_so_where_nobody_knows_what_runs(
    transactional_db: None, attempt: int
) -> None:
    stop = threading.Event()

    def deaf() -> None:
        if current_task().attempt < attempt:
            raise ValueError("once more")
        current_task().progress(1)
        assert stop.wait(15)

    def state() -> str:
        return TaskRecord.objects.values_list("state", flat=True).get(message_id=sent.message_id)

    for broker in serving(settings.RABBITMQ_URL, rabbitmq_prefix=settings.RABBITMQ_PREFIX, records="failures"):
        task = declare(deaf)
        with unlogged(), working(broker):
            sent = task.send()
            eventually(lambda: TaskRecord.objects.filter(state="running", retries=attempt - 1).exists(), within_s=15)
            actions.cancel(sent.message_id)
            assert state() == "running"
            stop.set()
            eventually(lambda: state() == "completed", within_s=15)


@pytest.mark.rabbitmq
def test_where_nobody_knows_what_waits_an_operator_is_not_told_that_it_is_gone(rabbitmq_broker: EngineBroker) -> None:
    out = io.StringIO()
    call_command("dramatiq_tasks", "cancel", "unknown", stdout=out)
    assert out.getvalue().startswith("Noted for 1 of 1 tasks: a worker drops those that it gets.")


def test_raising_it_without_having_been_asked_is_a_failure_like_any_other(stub_broker: EngineBroker) -> None:
    def eager() -> None:
        raise TaskCancelled("nobody asked")

    task = declare(eager, max_retries=0)
    with working(stub_broker):
        task.send()
        eventually(lambda: stub_broker.count_dead(DeadFilter(everything=True)) == 1)


def test_outside_of_tasks_nothing_is_cancelled() -> None:
    assert current_task().is_cancelled is False
    current_task().raise_if_cancelled()


def test_a_direct_call_is_never_cancelled(stub_broker: EngineBroker) -> None:
    task: Any = declare(lambda: current_task().is_cancelled, actor_name="direct")
    assert task() is False
