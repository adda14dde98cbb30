"""Django's Tasks framework, the same laws on every broker, inside the transaction of a plain `TestCase`."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from dramatiq import Message

from django_cfg.errors import BrokerUnreachable, PayloadTooLarge, TaskFailed
from django_cfg.tasks import actions, compat
from django_cfg.tasks.backends import EngineBackend, registry, stores, wire
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.compat import TaskResultDoesNotExist, TaskResultStatus, task_backends
from django_cfg.testing import drain, eventually, purge
from django_cfg.testing.contracts import Client, dead_process, declare, unlogged
from django_cfg.testing.contracts.tools import needs
from tests.contract import work
from tests.contract.conftest import BROKERS, PREFIXES, serving
from tests.contract.work import declared_with, heard

pytestmark = pytest.mark.django_db(databases=[*django_settings.DATABASES])


@pytest.fixture(params=[*BROKERS, "stub://"], autouse=True)
def broker(request: pytest.FixtureRequest, db: None) -> Iterator[EngineBroker]:
    """Each broker as the project's."""
    work.runs.clear()
    yield from serving(request.param, **PREFIXES)
    work.declare_again()


def status(result: Any) -> str:
    result.refresh()
    return str(result.status)


# -- enqueue and results -----------------------------------------------------------------------------------


def test_what_enqueue_returns_is_what_get_result_returns() -> None:
    later = timezone.now() + timedelta(hours=1)
    task = work.echo.using(priority=7, queue_name="reports", run_after=later, backend="anywhere")
    result = task.enqueue(1, (2, 3), {"a": b"text", 5: None}, key=1.5)
    found = task.get_result(result.id)
    assert found == result
    assert (found.task.priority, found.task.queue_name, found.task.run_after) == (7, "reports", later)
    assert (found.backend, found.task.backend) == ("anywhere", "anywhere")
    assert found.args == [1, [2, 3], {"a": "text", "5": None}]
    assert (found.status, found.attempts, found.errors) == (TaskResultStatus.READY, 0, [])


def test_what_was_read_first_does_not_matter() -> None:
    result = work.add.enqueue(1, b=2)
    drain()
    result.refresh()  # before any field was read
    assert (result.args, result.kwargs, result.status) == ([1], {"b": 2}, TaskResultStatus.SUCCESSFUL)
    assert result.return_value == 3


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), replace])
def test_a_result_that_nobody_has_read_is_copied_whole(copied: Any) -> None:
    result = work.add.enqueue(1, b=2)
    assert copied(result) == result == work.add.get_result(result.id)
    assert repr(copied(work.add.enqueue(3))).count("args=[3]") == 1


def test_a_task_with_functions_is_pickled_with_its_result() -> None:
    result = work.pay_again.using(priority=5).enqueue("x")
    again = pickle.loads(pickle.dumps(result))
    assert again == result and again.task.backoff is work.pay_again.backoff
    assert copy.deepcopy(result) == result


def test_a_result_has_no_other_fields() -> None:
    with pytest.raises(AttributeError, match="colour"):
        work.add.enqueue(1, 2).colour  # noqa: B018 - that is the point


def test_a_value_comes_back_with_the_times_and_workers_of_its_run() -> None:
    result = work.add.enqueue(1, b=2)
    assert drain() == 1
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert work.add.get_result(result.id) == result


@pytest.mark.parametrize("garbage", ["123", "", "x" * 65, "nul\0", "no such id", 123, None])
def test_an_unknown_or_malformed_id_has_no_result(garbage: Any) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(garbage)


def test_what_an_actor_returned_is_no_result_of_a_task() -> None:
    sent = declare(lambda: {"message": {"text": "a word of ours"}}, actor_name="talks").send()
    assert drain() == 1
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(sent.message_id)


def test_results_can_be_waited_for_and_name_their_error() -> None:
    good, bad = work.add.delay(1, 2), work.fail.delay("what went wrong")
    assert not good.ready()
    with pytest.raises(TimeoutError, match="has not finished within"):
        good.get(timeout=0.02)
    with unlogged():
        drain()
    assert good.ready() and good.get() == 3
    with pytest.raises(TaskFailed, match="ValueError: what went wrong"):
        bad.get(timeout=1)


def test_a_wait_lasts_as_long_as_it_may() -> None:
    result, began = work.add.enqueue(1, 2), time.monotonic()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.3)
    assert time.monotonic() - began >= 0.3


def test_arguments_that_are_no_json_are_refused_as_django_refuses_them() -> None:
    for value, error in ((timezone.now(), TypeError), ({1, 2}, TypeError), (b"\xff", ValueError)):
        with pytest.raises(error, match="Unsupported"):
            work.echo.enqueue(value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        work.echo.enqueue(float("nan"))
    assert drain() == 0


def test_django_words_its_refusals_itself() -> None:
    with pytest.raises(compat.InvalidTask, match="Queue 'unknown' is not valid for backend"):
        work.add.using(backend="retrying", queue_name="unknown")
    with pytest.raises(compat.InvalidTask, match="priority must be a whole number between -100 and 100"):
        work.add.using(priority=101)
    with pytest.raises(compat.InvalidTask, match="run_after must be an aware datetime"):
        work.add.using(run_after=timezone.now().replace(tzinfo=None))
    with pytest.raises(compat.InvalidTask, match="must be between 0 ms and ten years"):
        work.add.using(run_after=timedelta(days=5000)).enqueue()


def test_a_task_whose_settings_changed_is_checked_when_it_is_enqueued() -> None:
    task = work.add.using(queue_name="gone")
    one_queue = {"default": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": ["default"]}}
    with override_settings(TASKS=one_queue), pytest.raises(compat.InvalidTask, match="Queue 'gone' is not valid"):
        task.enqueue()
    assert drain() == 0


def test_async_code_enqueues_and_reads_results() -> None:
    async def send() -> Any:
        result = await work.aadd.aenqueue(1, 2)
        assert await work.aadd.aget_result(result.id) == result
        with pytest.raises(TaskResultDoesNotExist):
            await task_backends["default"].aget_result(123)
        return result

    result = async_to_sync(send)()
    drain()
    assert result.get() == 3


def test_a_broker_without_lookups_keeps_an_entry_until_the_task_has_ended(
    broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(broker), "supports_find", False)
    monkeypatch.setattr(type(broker), "find", lambda self, message_id: None)
    result = work.add.enqueue(1, 2)
    assert work.add.get_result(result.id) == result
    drain()
    assert result.get() == 3


# -- runs --------------------------------------------------------------------------------------------------


def test_the_context_knows_the_attempt_and_a_running_result() -> None:
    result = work.look.enqueue("more")
    drain()
    assert result.get() == [result.id, 1, "RUNNING", 1, "more"]


def test_a_running_task_names_its_worker_and_start(broker: EngineBroker) -> None:
    needs(broker.supports_find, "nobody but the task itself sees that it runs")
    result = work.add.enqueue()
    client = Client(broker)
    client.claim()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
    assert result.started_at is not None and abs(result.started_at - timezone.now()) < timedelta(seconds=30)
    assert result.worker_ids[0].rpartition(":")[2].isdigit()


def test_retries_keep_every_error_and_the_first_start() -> None:
    result = work.third_time.enqueue()
    with unlogged():
        eventually(lambda: drain() or result.ready())
        eventually(lambda: (drain(), result.ready())[1])
    assert result.get() == 3
    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    assert [error.traceback.splitlines()[-1] for error in result.errors] == [
        "ValueError: attempt 1",
        "ValueError: attempt 2",
    ]
    assert result.attempts == len(result.worker_ids) == 3
    assert result.started_at < result.last_attempted_at < result.finished_at


def test_between_attempts_a_task_is_ready_again() -> None:
    result = work.fail.using(backend="retrying").enqueue()
    with unlogged():
        drain(backend="retrying")
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.READY, 1, 1)


def test_one_attempt_is_the_default() -> None:
    result = work.fail.enqueue("once")
    with unlogged():
        drain()
    assert status(result) == "FAILED"
    assert work.runs == ["once"]
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


@pytest.mark.parametrize(
    ("task", "error"), [(work.leave, SystemExit), (work.unserialisable, TypeError), (work.endless_number, ValueError)]
)
def test_what_ends_a_task_ends_nothing_else(task: Any, error: type[BaseException]) -> None:
    result, other = task.enqueue(), work.add.enqueue(1, 1)
    with unlogged():
        assert drain() == 2
    result.refresh()
    assert (result.status, result.errors[0].exception_class) == (TaskResultStatus.FAILED, error)
    assert other.get() == 2


def test_a_ctrl_c_is_let_through() -> None:
    result = work.interrupt.enqueue()
    with unlogged(), pytest.raises(KeyboardInterrupt):
        drain()
    assert status(result) == "FAILED"


def test_a_backoff_function_says_when_or_never() -> None:
    asked: list[Any] = []

    def backoff(error: BaseException, result: Any) -> float | None:
        asked.append((str(error), result.attempts))
        return 0 if len(asked) < 2 else None

    task = declared_with(work.fail, max_attempts=9, backoff=backoff)
    result = task.enqueue("again")
    with unlogged():
        eventually(lambda: (drain(), result.ready())[1])
    assert asked == [("again", 1), ("again", 2)]
    assert (str(result.status), result.attempts) == ("FAILED", 2)


# -- order and time ----------------------------------------------------------------------------------------


def test_the_highest_priority_runs_first_and_equals_in_their_order(broker: EngineBroker) -> None:
    needs(not broker.sends_ahead, "priorities are three bands")
    for name, priority in (("a", 0), ("low", -100), ("b", 0), ("high", 100), ("c", 0), ("one", 1)):
        work.note.using(priority=priority).enqueue(name)
    drain()
    assert work.runs == ["high", "one", "a", "b", "c", "low"]


def test_words_for_priorities() -> None:
    assert [work.note.using(priority=word).priority for word in ("low", "normal", "high")] == [-50, 0, 50]
    with pytest.raises(compat.InvalidTask, match="'low', 'normal', 'high', got 'huge'"):
        work.note.using(priority="huge")


def test_a_task_that_is_due_later_waits() -> None:
    soon = work.note.using(run_after=timedelta(milliseconds=300)).enqueue("soon")
    work.note.using(run_after=timedelta(hours=1)).enqueue("later")
    assert (drain(), status(soon)) == (0, "READY")
    eventually(lambda: drain())
    assert work.runs == ["soon"]


def test_a_deferred_task_does_not_jump_those_that_were_enqueued_before_it() -> None:
    due = timezone.now() + timedelta(milliseconds=200)
    work.note.enqueue("older")
    work.note.using(run_after=due).enqueue("deferred")
    eventually(lambda: timezone.now() > due + timedelta(milliseconds=100))
    eventually(lambda: (drain(), len(work.runs) == 2)[1])
    assert work.runs == ["older", "deferred"]


def test_a_task_that_expired_fails_without_a_run() -> None:
    result = declared_with(work.note, expires=0.05).enqueue("late")
    threading.Event().wait(0.1)
    with unlogged():
        drain()
    assert (status(result), work.runs) == ("FAILED", [])
    assert result.errors[0].exception_class_path == "django_cfg.errors.TaskExpired"


def test_a_task_that_has_started_in_time_is_retried_whenever_that_is() -> None:
    work.add.enqueue()
    drain()  # queues and connections are made
    result = declared_with(work.fail, expires=0.8, max_attempts=2, backoff=lambda error, result: 1).enqueue()
    with unlogged():
        assert drain() == 1
        eventually(lambda: drain() or result.ready())
    assert (status(result), [error.exception_class for error in result.errors]) == ("FAILED", [ValueError] * 2)


def test_a_unique_task_is_enqueued_once_until_it_has_finished() -> None:
    task = declared_with(work.note, unique=True)
    first, again, other = task.enqueue("x"), task.enqueue("x"), task.enqueue("y")
    assert again == first and other != first
    drain()
    assert work.runs == ["x", "y"]
    assert status(task.enqueue("x")) == "READY"
    by_name = declared_with(work.note, unique=lambda name: "all the same")
    assert by_name.enqueue("x") == by_name.enqueue("y")


def test_a_unique_task_that_failed_and_is_enqueued_anew_is_no_dead_letter(broker: EngineBroker) -> None:
    task = declared_with(work.fail, unique=True)
    first = task.enqueue()
    with unlogged():
        drain()
    assert broker.count_dead(DeadFilter(everything=True)) == 1
    assert task.enqueue().id == first.id
    assert broker.count_dead(DeadFilter(everything=True)) == 0
    with unlogged():
        assert drain() == 1
    assert broker.count_dead(DeadFilter(everything=True)) == 1


def test_a_unique_task_that_was_refused_does_not_wait(broker: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    task = declared_with(work.note, unique=True)
    for _ in range(2):
        with pytest.raises(PayloadTooLarge):
            task.enqueue("x" * broker.settings.max_payload_bytes)
    with monkeypatch.context() as away:
        away.setattr(broker, "store", unreachable)
        with pytest.raises(BrokerUnreachable):
            task.enqueue("y")
    assert status(task.enqueue("y")) == "READY"
    assert (drain(), work.runs) == (1, ["y"])


def unreachable(*_: Any) -> None:
    raise BrokerUnreachable("nobody answers")


# -- signals and logs --------------------------------------------------------------------------------------


def test_signals_come_from_the_class_of_the_backend() -> None:
    with heard() as seen, unlogged():
        work.add.enqueue(1, 1)
        work.fail.enqueue()
        drain()
    assert seen == [
        ("enqueued", EngineBackend, "READY"),
        ("enqueued", EngineBackend, "READY"),
        ("started", EngineBackend, "RUNNING"),
        ("finished", EngineBackend, "SUCCESSFUL"),
        ("started", EngineBackend, "RUNNING"),
        ("finished", EngineBackend, "FAILED"),
    ]


def test_a_receiver_that_raises_changes_nothing() -> None:
    def raises(**_: Any) -> None:
        raise RuntimeError("receiver")

    signals = (compat.task_enqueued, compat.task_started, compat.task_finished)
    for signal in signals:
        signal.connect(raises)
    try:
        with unlogged():
            result = work.add.enqueue(1, 2)
            drain()
    finally:
        for signal in signals:
            signal.disconnect(raises)
    assert result.get() == 3


def test_what_a_receiver_enqueues_is_found_by_its_result_and_unique_if_it_says_so() -> None:
    plain: list[Any] = []
    unique: list[Any] = []
    once = declared_with(work.note, unique=True)

    def follow(task_result: Any, **_: Any) -> None:
        if task_result.task.func is work.add.func:
            plain.append(work.echo.enqueue(task_result.id))
            unique.append(once.enqueue("once"))

    compat.task_finished.connect(follow)
    try:
        for number in (1, 2):
            work.add.enqueue(number, number)
        assert drain(max_tasks=2) == 2
    finally:
        compat.task_finished.disconnect(follow)
    assert [status(result) for result in plain] == ["READY", "READY"]
    assert unique[0] == unique[1]
    drain()
    assert [status(result) for result in (*plain, *unique)] == ["SUCCESSFUL"] * 4
    assert work.runs.count("once") == 1


def test_log_lines_are_those_of_the_framework(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, compat.LOGGER):
        good, bad = work.add.enqueue(1, 2), work.fail.enqueue("why")
        drain()
    lines = [
        (r.levelname, r.getMessage(), bool(r.exc_info and r.exc_info[0]))
        for r in caplog.records
        if r.name == compat.LOGGER
    ]
    path, failing = f"path={work.add.module_path}", f"path={work.fail.module_path}"
    assert lines == [
        ("DEBUG", f"Task id={good.id} {path} enqueued backend=default", False),
        ("DEBUG", f"Task id={bad.id} {failing} enqueued backend=default", False),
        ("INFO", f"Task id={good.id} {path} state=RUNNING", False),
        ("INFO", f"Task id={good.id} {path} state=SUCCESSFUL", False),
        ("INFO", f"Task id={bad.id} {failing} state=RUNNING", False),
        ("ERROR", f"Task id={bad.id} {failing} state=FAILED", True),
    ]
    assert "ValueError: why" in caplog.text


# -- operators, faults -------------------------------------------------------------------------------------


def test_an_operator_retries_a_failed_task_as_if_it_were_new() -> None:
    result = work.fail.enqueue("once")
    with unlogged():
        drain()
    assert status(result) == "FAILED"
    assert actions.retry_failed(DeadFilter(message_ids=(result.id,))) == 1
    result.refresh()
    assert (result.status, result.attempts, result.errors, result.started_at) == (TaskResultStatus.READY, 0, [], None)


def test_an_operator_sends_a_task_by_its_name_and_a_failed_one_again() -> None:
    sent = actions.enqueue(work.add.module_path, [1], {"b": 2})
    assert status(work.add.get_result(sent.message_id)) == TaskResultStatus.READY
    failed = work.fail.using(priority=7, backend="anywhere").enqueue()
    with unlogged():
        drain()
    assert work.add.get_result(sent.message_id).return_value == 3
    again = work.fail.get_result(actions.enqueue_again(failed.id).message_id)
    assert (again.status, again.task.priority, again.attempts) == (TaskResultStatus.READY, 7, 0)
    assert again.enqueued_at > failed.enqueued_at
    with unlogged():
        drain()
    assert status(again) == status(failed) == TaskResultStatus.FAILED


@pytest.mark.django_db(databases="__all__")
def test_of_a_cancelled_actor_no_arguments_are_kept(broker: EngineBroker) -> None:
    actor = declare(lambda pin: None, actor_name="secretive")
    sent = actor.send_with_options(args=("canary-1234",), delay=3_600_000)
    assert actions.cancel(sent.message_id)
    drain()
    is_kept, value = broker.load_result(sent.message_id)
    assert is_kept and "canary-1234" not in str(value)


def test_a_cancelled_task_has_failed_and_keeps_its_arguments(broker: EngineBroker) -> None:
    result = work.add.enqueue(1, 2)
    assert actions.cancel(result.id)
    if not broker.supports_find:
        drain()  # it is dropped when a worker gets it
        assert work.runs == []
    result.refresh()
    assert (result.status, result.args) == (TaskResultStatus.FAILED, [1, 2])
    assert result.errors[0].exception_class_path == "django_cfg.errors.TaskCancelled"
    assert result.finished_at is not None
    assert work.add.get_result(result.id) == result


def test_a_task_that_kills_its_workers_ends_failed(broker: EngineBroker) -> None:
    result = work.add.enqueue(1, 2)
    for _ in range(broker.settings.max_deliveries):
        assert status(result) == "READY"
        victim = Client(broker, dead_process())
        assert victim.claim_soon()
        assert status(result) == ("RUNNING" if broker.supports_find else "READY")
        broker.sweep(dead_process())
    if not broker.settles_for_the_dead:
        drain()  # whoever gets it next buries it
    eventually(result.ready)
    assert result.status == TaskResultStatus.FAILED
    assert "its worker process died" in result.errors[-1].traceback
    assert (result.attempts, set(result.worker_ids)) == (broker.settings.max_deliveries, {"lost"})
    assert result.finished_at is not None


def test_a_run_that_died_with_its_process_counts_as_an_attempt(broker: EngineBroker) -> None:
    result = work.look.enqueue()
    Client(broker, dead_process()).claim_soon()
    broker.sweep(dead_process())
    eventually(lambda: drain() or result.ready())
    assert result.get()[1] == 2
    assert result.worker_ids[0] == "lost"


def test_a_result_survives_the_removal_of_its_task() -> None:
    waiting, finished = work.note.enqueue("a"), work.echo.enqueue("b")
    drain()
    for task in (work.note, work.echo):
        registry.forget(task.module_path)
    try:
        found = task_backends["default"].get_result(finished.id)
        assert (found.return_value, found.task.module_path) == ([["b"], {}], work.echo.module_path)
        with pytest.raises(LookupError, match="this project has no task"):
            found.task.call()
        assert task_backends["default"].get_result(waiting.id).task.module_path == work.note.module_path
    finally:
        for task in (work.note, work.echo):
            registry.note(task)


def test_a_path_in_a_message_is_never_imported(broker: EngineBroker) -> None:
    import sys

    result = work.note.enqueue("real")
    message = Message("default", work.note.module_path, (), {}, {wire.DECLARED: {}}, result.id)
    for path in ("os.system", "tests.contract.never_imported.task", "builtins.eval"):
        foreign = message.copy(actor_name=path, message_id=path)
        if not broker.supports_find:
            stores.note_waiting(broker, foreign)
        broker.enqueue(foreign)
    drain()
    assert work.runs == ["real"]
    assert "tests.contract.never_imported" not in sys.modules
    assert task_backends["default"].get_result("os.system").task.module_path == "os.system"


# -- tests of projects -------------------------------------------------------------------------------------


def test_drain_takes_only_what_it_was_asked_for() -> None:
    for queue in ("default", "default", "mail", "news"):
        work.note.using(queue_name=queue).enqueue(queue)
    assert drain(queues=["mail"]) == 1
    assert drain(queues="news") == 1
    assert drain(max_tasks=1) == 1
    assert work.runs == ["mail", "news", "default"]
    assert drain() == 1


def test_drain_runs_what_was_sent_in_a_block_that_has_ended(broker: EngineBroker) -> None:
    alias = broker.transaction_alias or "default"
    with transaction.atomic(using=alias):
        first = work.send_in_a_block.using(enqueue_on_commit=True).enqueue(alias, "second")
        if not broker.is_transactional:
            assert drain() == 0
    with suppress(RuntimeError), transaction.atomic(using=alias):
        work.note.using(enqueue_on_commit=True).enqueue("never")
        raise RuntimeError
    assert drain() == 2
    assert (status(first), work.runs) == ("SUCCESSFUL", ["second"])


def test_purge_empties_the_broker() -> None:
    waiting, failed = work.note.enqueue("x"), work.fail.enqueue()
    with unlogged():
        drain(max_tasks=2)
    work.note.enqueue("y")
    purge()
    assert drain() == 0
    for result in (waiting, failed):
        with pytest.raises(TaskResultDoesNotExist):
            work.note.get_result(result.id)


def test_a_task_of_ours_runs_at_once_on_the_framework_s_own_backend() -> None:
    immediate = {"BACKEND": f"{compat.MODULE}.backends.immediate.ImmediateBackend"}
    with override_settings(TASKS={"default": immediate}):
        assert work.add.enqueue(1, 2).return_value == 3
        assert drain() == 0


def test_a_task_of_another_backend_can_be_sent_to_ours() -> None:
    immediate = {"BACKEND": f"{compat.MODULE}.backends.immediate.ImmediateBackend"}
    ours = {"BACKEND": "django_cfg.tasks.backends.EngineBackend"}
    with override_settings(TASKS={"default": immediate, "ours": ours}):
        task = compat.Task(func=work.add.func, priority=0, queue_name="default", backend="default",
                           run_after=None, takes_context=False)  # fmt: skip
        result = task.using(backend="ours").enqueue(2, 3)
        drain(backend="ours")
        result.refresh()
        assert result.return_value == 5
