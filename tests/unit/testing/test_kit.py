"""The kit for projects' tests: what was sent, run here and now, delays without waiting, failures that show."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import SimpleTestCase, TestCase

from django_cfg.testing import EagerTasksMixin, TaskFailed, TaskKit, TasksMixin
from django_cfg.testing import task_kit as make_kit
from django_cfg.testing.kit import Worker
from django_cfg.testing.pytest_plugin import eager_tasks, task_kit, task_worker
from tests.contract import work

RUNS: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def note(word: str) -> None:
    RUNS.append(word)


def send_two() -> None:
    NOTE.send("first")
    NOTE.send("second")


def fail() -> None:
    raise LookupError("on purpose")


def fail_once() -> None:
    RUNS.append("try")
    if len(RUNS) == 1:
        raise ConnectionError("away")


def forever() -> None:
    FOREVER.send()


def make_group(name: str) -> None:
    Group.objects.create(name=name)


def send_in_transaction() -> None:
    with transaction.atomic():
        NOTE.send("inner")


NOTE: Any = dramatiq.actor(note, actor_name="kit_note", queue_name="notes")
SEND_TWO: Any = dramatiq.actor(send_two, actor_name="kit_send_two")
FAIL: Any = dramatiq.actor(fail, actor_name="kit_fail", throws=(LookupError,))
FAIL_ONCE: Any = dramatiq.actor(fail_once, actor_name="kit_fail_once", max_retries=2, min_backoff=30_000)
FOREVER: Any = dramatiq.actor(forever, actor_name="kit_forever")
MAKE_GROUP: Any = dramatiq.actor(make_group, actor_name="kit_make_group")
IN_TRANSACTION: Any = dramatiq.actor(send_in_transaction, actor_name="kit_in_transaction")


@pytest.fixture
def kit() -> Iterator[TaskKit]:
    with make_kit() as made:
        yield made


__all__ = ["eager_tasks", "task_kit", "task_worker"]  # fixtures of the plugin, as a project gets them


# -- sent ----------------------------------------------------------------------------------------------


def test_a_send_is_seen_and_not_run(kit: TaskKit) -> None:
    NOTE.send("x")
    (message,) = kit.assert_enqueued(NOTE, args=("x",), kwargs={}, queue="notes", delay=0, times=1)
    assert kit.sent == [message]
    kit.assert_enqueued("kit_note")
    kit.assert_not_enqueued(NOTE, args=("y",))
    kit.assert_not_enqueued(SEND_TWO)
    assert RUNS == []


def test_a_delay_is_part_of_a_send(kit: TaskKit) -> None:
    NOTE.send_with_options(args=("x",), delay=timedelta(seconds=90))
    kit.assert_enqueued(NOTE, delay=90_000)
    kit.assert_enqueued(NOTE, delay=timedelta(seconds=90))
    kit.assert_not_enqueued(NOTE, delay=0)


def test_a_complaint_shows_the_sends_that_do_not_fit(kit: TaskKit) -> None:
    NOTE.send_with_options(args=("x",), delay=500)
    with pytest.raises(AssertionError, match="got 0; its sends were:\n  kit_note\\('x'\\) on notes delayed by 500 ms"):
        kit.assert_enqueued(NOTE, args=("y",))
    with pytest.raises(AssertionError, match="it was not sent at all; sent were: kit_note"):
        kit.assert_enqueued(FAIL)
    with pytest.raises(AssertionError, match="expected 2 fitting send of kit_note, got 1"):
        kit.assert_enqueued(NOTE, times=2)


def test_a_send_that_has_run_was_still_sent(kit: TaskKit) -> None:
    NOTE.send("x")
    assert kit.run() == 1
    kit.assert_enqueued(NOTE, times=1)
    assert RUNS == ["x"]


def test_a_django_task_is_seen_as_an_actor_is(kit: TaskKit) -> None:
    work.add.using(run_after=timedelta(hours=1)).enqueue(1, b=2)
    kit.assert_enqueued(work.add, args=(1,), kwargs={"b": 2}, delay=timedelta(hours=1), times=1)
    kit.assert_not_enqueued(work.echo)
    with pytest.raises(AssertionError, match=r"tests\.contract\.work\.echo, got 0; it was not sent at all"):
        kit.assert_enqueued(work.echo)


def test_a_backend_with_a_broker_of_its_own_is_on_the_kit_too(kit: TaskKit, settings: Any) -> None:
    fast = {**settings.TASKS["default"], "OPTIONS": {"broker_url": "redis://127.0.0.1:1/0"}}  # nobody answers there
    settings.TASKS = {**settings.TASKS, "fast": fast}
    result = work.add.using(backend="fast").enqueue(1, 2)
    kit.assert_enqueued(work.add)
    assert (kit.run(), result.get(timeout=1)) == (1, 3)


def test_one_test_sees_nothing_of_another_and_the_projects_broker_comes_back() -> None:
    project = NOTE.broker
    with make_kit() as first:
        NOTE.send("x")
        assert NOTE.broker is first.broker is dramatiq.get_broker()
    with make_kit() as second:
        second.assert_not_enqueued(NOTE)
    assert NOTE.broker is project


def test_a_task_declared_in_a_test_is_left_to_the_project(kit: TaskKit) -> None:
    with make_kit() as inner:
        made = dramatiq.actor(lambda: RUNS.append("made"), actor_name="kit_made")
        made.send()
        inner.run()
    assert RUNS == ["made"]
    assert made.broker is kit.broker


# -- transactions --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_send_in_an_open_transaction_counts_and_waits(kit: TaskKit) -> None:
    with transaction.atomic():
        NOTE.send("x")
        kit.assert_enqueued(NOTE, times=1)
        assert [message.args for message in kit.waiting_for_commit] == [("x",)]
    assert kit.run() == 1
    assert RUNS == ["x"]
    assert kit.waiting_for_commit == []
    kit.assert_enqueued(NOTE, times=1)


@pytest.mark.django_db
def test_a_send_that_was_rolled_back_was_never_sent(kit: TaskKit) -> None:
    with pytest.raises(LookupError), transaction.atomic():
        NOTE.send("x")
        raise LookupError
    kit.assert_not_enqueued(NOTE)
    assert kit.run() == 0


@pytest.mark.django_db(transaction=True)
def test_a_real_commit_sends(kit: TaskKit) -> None:
    with transaction.atomic():
        NOTE.send("x")
        assert kit.broker.accepted == []
    assert len(kit.broker.accepted) == 1
    kit.assert_enqueued(NOTE, times=1)


@pytest.mark.django_db
def test_what_tasks_send_in_transactions_of_their_own_runs_too(kit: TaskKit) -> None:
    IN_TRANSACTION.send()
    assert kit.run() == 2
    assert RUNS == ["inner"]


# -- running -------------------------------------------------------------------------------------------


def test_a_run_includes_what_tasks_send(kit: TaskKit) -> None:
    SEND_TWO.send()
    assert kit.run() == 3
    assert RUNS == ["first", "second"]


def test_time_is_travelled_and_not_waited_for(kit: TaskKit) -> None:
    NOTE.send_with_options(args=("late",), delay=timedelta(days=3))
    began = time.monotonic()
    assert kit.run() == 0
    kit.travel(timedelta(days=2))
    assert kit.run() == 0
    kit.travel(timedelta(days=1, seconds=1))
    assert kit.run() == 1
    assert time.monotonic() - began < 60


def test_run_all_goes_through_retries(kit: TaskKit) -> None:
    FAIL_ONCE.send()
    assert kit.run() == 1
    assert RUNS == ["try"]
    assert kit.run_all() == 1
    assert RUNS == ["try", "try"]
    assert kit.failures == []


def test_a_dead_letter_shows_where_its_task_broke(kit: TaskKit) -> None:
    FAIL.send()
    with pytest.raises(TaskFailed, match="task kit_fail became a dead letter after 1 attempts: ") as caught:
        kit.run()
    assert isinstance(caught.value.__cause__, LookupError)
    assert "fail" in [frame.name for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)]
    assert [letter.task for letter in kit.failures] == ["kit_fail"]
    kit.run()  # it was shown once


def test_an_expected_failure_is_kept_and_not_raised(kit: TaskKit) -> None:
    FAIL.send()
    kit.run(expect_failures=True)
    (letter,) = kit.failures
    assert letter.error == "on purpose"


def test_tasks_that_send_each_other_for_ever_are_an_error_that_names_them(kit: TaskKit) -> None:
    FOREVER.send()
    with pytest.raises(AssertionError, match="20 runs and no end; still to do: kit_forever"):
        kit.run(max_runs=20)


def test_eager_tasks_run_where_they_are_sent(kit: TaskKit) -> None:
    with kit.eager():
        SEND_TWO.send()
        assert RUNS == ["first", "second"]
        with pytest.raises(TaskFailed):
            FAIL.send()
    NOTE.send("later")
    assert RUNS == ["first", "second"]


@pytest.mark.django_db(transaction=True)
def test_eager_tasks_wait_for_the_commit(kit: TaskKit) -> None:
    with kit.eager():
        with transaction.atomic():
            NOTE.send("x")
            assert RUNS == []
        assert RUNS == ["x"]


# -- a worker with threads -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_worker_runs_what_is_sent(kit: TaskKit) -> None:
    with kit.worker() as worker:
        MAKE_GROUP.send("readers")
        worker.join()
    assert Group.objects.filter(name="readers").exists()


@pytest.mark.django_db(transaction=True)
def test_a_worker_travels_in_time(kit: TaskKit) -> None:
    with kit.worker() as worker:
        NOTE.send_with_options(args=("late",), delay=3_600_000)
        worker.join()
        assert RUNS == []
        kit.travel(3601)
        worker.join()
    assert RUNS == ["late"]


@pytest.mark.django_db(transaction=True)
def test_a_failure_in_a_worker_fails_the_test(kit: TaskKit) -> None:
    with pytest.raises(TaskFailed, match="kit_fail became a dead letter"), kit.worker() as worker:
        FAIL.send()
        worker.join()


@pytest.mark.django_db(transaction=True)
def test_a_worker_never_hangs(kit: TaskKit) -> None:
    began = time.monotonic()
    stuck = dramatiq.actor(lambda: time.sleep(30), actor_name="kit_stuck")
    with pytest.raises(AssertionError, match=r"not idle within 0.2 s; still to do: kit_stuck"):  # noqa: SIM117
        with kit.worker(stop_within_s=0.2) as worker:
            stuck.send()
            worker.join(within_s=0.2)
    assert time.monotonic() - began < 25


# -- mixins and fixtures -------------------------------------------------------------------------------


class KitCase(TasksMixin, TestCase):
    def test_the_kit_is_there(self) -> None:
        with transaction.atomic():
            MAKE_GROUP.send("readers")
        self.tasks.assert_enqueued(MAKE_GROUP, times=1)
        self.tasks.run()
        self.assertTrue(Group.objects.filter(name="readers").exists())

    def test_each_test_has_its_own(self) -> None:
        self.assertEqual(self.tasks.sent, [])


class EagerCase(EagerTasksMixin, TestCase):
    def test_tasks_run_where_they_are_sent(self) -> None:
        MAKE_GROUP.send("writers")
        self.assertTrue(Group.objects.filter(name="writers").exists())


class WithoutDatabase(TasksMixin, SimpleTestCase):
    def test_no_database_is_touched(self) -> None:
        NOTE.send("x")
        self.tasks.assert_enqueued(NOTE)
        self.assertEqual(self.tasks.run(), 1)


def test_the_fixture_is_a_kit(task_kit: TaskKit) -> None:
    NOTE.send("x")
    task_kit.assert_enqueued(NOTE)


def test_the_eager_fixture_runs_where_tasks_are_sent(eager_tasks: TaskKit) -> None:
    NOTE.send("x")
    assert RUNS == ["x"]


def test_the_worker_fixture_runs_in_threads(task_worker: Worker) -> None:
    NOTE.send("x")
    task_worker.join()
    assert RUNS == ["x"]
