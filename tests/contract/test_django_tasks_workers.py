"""Django's Tasks framework with real transactions and with workers in threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections, transaction
from django.utils import timezone

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import ProcessIdentity, ResultEntry
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.compat import TaskResultDoesNotExist, TaskResultStatus
from django_cfg.testing import drain, eventually
from django_cfg.testing.contracts import Client, unlogged, working
from django_cfg.testing.contracts.tools import done, needs
from tests.contract import work
from tests.contract.conftest import BROKERS, PREFIXES, serving
from tests.contract.work import declared_with, heard

pytestmark = pytest.mark.django_db(transaction=True, databases=[*django_settings.DATABASES])


@pytest.fixture(params=BROKERS, autouse=True)
def broker(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[EngineBroker]:
    """Each broker as the project's."""
    work.runs.clear()
    yield from serving(request.param, **PREFIXES)
    work.declare_again()


def alias_of(broker: EngineBroker) -> str:
    return broker.transaction_alias or "default"


# -- transactions ------------------------------------------------------------------------------------------


def test_a_rollback_takes_the_task_along(broker: EngineBroker) -> None:
    task = work.note.using(enqueue_on_commit=True)
    with heard() as seen, pytest.raises(RuntimeError), transaction.atomic(using=alias_of(broker)):
        result = task.enqueue("never")
        raise RuntimeError
    assert (drain(), seen) == (0, [])
    with pytest.raises(TaskResultDoesNotExist):
        task.get_result(result.id)


def test_a_commit_enqueues_and_tells(broker: EngineBroker) -> None:
    task = work.note.using(enqueue_on_commit=True)
    with heard() as seen:
        with transaction.atomic(using=alias_of(broker)):
            result = task.enqueue("x")
            assert task.get_result(result.id) == result
            assert seen == []
        assert [name for name, _, _ in seen] == ["enqueued"]
    assert (drain(), result.ready()) == (1, True)


def test_a_unique_task_that_has_finished_is_new_again_before_its_commit(broker: EngineBroker) -> None:
    task = declared_with(work.note, unique=True, enqueue_on_commit=True)
    first = task.enqueue("x")
    assert (drain(), first.ready()) == (1, True)
    with heard() as seen:
        with transaction.atomic(using=alias_of(broker)):
            again, twice = task.enqueue("x"), task.enqueue("x")
            assert str(again.status) == "READY"
            assert again == twice != first
        assert [name for name, _, _ in seen] == ["enqueued"]
    assert (drain(), again.ready(), work.runs) == (1, True, ["x", "x"])


def test_without_on_commit_a_broker_of_its_own_does_not_wait(broker: EngineBroker) -> None:
    if broker.is_transactional:
        return  # there the row is part of the transaction either way
    with heard() as seen, transaction.atomic():
        result = work.note.using(enqueue_on_commit=False).enqueue("at once")
        assert (drain(), len(seen)) == (1, 3)
    assert result.ready()


# -- workers -----------------------------------------------------------------------------------------------


def test_a_worker_runs_sync_and_async_tasks_and_actors_at_once(broker: EngineBroker) -> None:
    results = [work.add.enqueue(1, 2), work.aadd.enqueue(3, 4)]
    with working(broker):
        assert [result.get(timeout=15) for result in results] == [3, 7]


def test_several_tasks_run_at_once_in_threads_and_on_the_event_loop(broker: EngineBroker) -> None:
    work.arrived.clear()
    work.together.reset()
    results = [task.enqueue() for task in (work.meet, work.ameet) for _ in range(3)]
    with working(broker, threads=6):
        for result in results:
            assert result.get(timeout=15) is None


def test_an_async_task_that_exits_ends_itself_alone(broker: EngineBroker) -> None:
    leaving, others = work.aleave.enqueue(), [work.aadd.using(priority=-1).enqueue(1, 2) for _ in range(3)]
    with unlogged(), working(broker):
        eventually(leaving.ready)
        assert [result.get(timeout=15) for result in others] == [3, 3, 3]
    assert leaving.errors[0].exception_class is SystemExit


def test_a_deferred_task_starts_within_a_second_of_its_time(broker: EngineBroker) -> None:
    with working(broker):
        due = timezone.now() + timedelta(seconds=1)
        result = work.add.using(run_after=due).enqueue(1, 2)
        assert result.get(timeout=10) == 3
    assert due <= result.started_at <= due + timedelta(seconds=1)


@pytest.mark.postgres
def test_async_tasks_survive_dropped_connections(broker: EngineBroker) -> None:
    needs(broker.transaction_alias == "postgres", "its connections are dropped from inside PostgreSQL")
    first = work.acount.enqueue("postgres")
    with unlogged(), working(broker):
        assert first.get(timeout=15) == 0
        drop_connections()
        assert work.acount.enqueue("postgres").get(timeout=15) == 0
        slow = work.apause.enqueue(1.5)  # while another one runs, too
        eventually(lambda: status(slow) == "RUNNING")
        drop_connections()
        assert work.acount.enqueue("postgres").get(timeout=15) == 0
        assert status(slow) == "RUNNING"


@pytest.mark.postgres
def test_an_outcome_survives_dropped_connections(broker: EngineBroker) -> None:
    needs(broker.transaction_alias == "postgres", "its connections are dropped from inside PostgreSQL")
    with unlogged(), working(broker):
        result = work.pause.enqueue(0.7)
        eventually(lambda: status(result) == "RUNNING")
        drop_connections()
        assert result.get(timeout=15) is None
    assert result.attempts == 1


def drop_connections() -> None:
    """Of everybody else."""
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] > 0


def test_a_task_of_a_host_that_never_returns_runs_elsewhere_and_its_late_outcome_is_refused(
    broker: EngineBroker,
) -> None:
    needs(broker.settles_for_the_dead, "its lease is a connection")
    broker.settings = replace(broker.settings, lease_ms=300)
    result = work.echo.enqueue("elsewhere")
    gone = Client(broker, ProcessIdentity("no-such-host", "gone", 1, "1"))
    claim = gone.claim_soon()
    eventually(lambda: broker.sweep(identity()) or broker.sweep(identity()))
    assert eventually(lambda: drain() or result.ready())
    entry = ResultEntry({"django_task_result": 1, "status": "FAILED"}, 60_000)
    with suppress(SessionLost):
        assert gone.exchange(done(claim, result=entry)).refused == {claim.message_id}
    assert (result.get(), result.attempts) == ([["elsewhere"], {}], 2)


def test_results_go_when_their_time_is_over(broker: EngineBroker, settings: Any) -> None:
    settings.TASKS_RESULT_EXPIRATION_DAYS = 1 / 86_400
    result = work.add.enqueue(1, 2)
    drain()
    assert result.get(timeout=5) == 3
    eventually(lambda: not is_known(result))


def test_a_dead_letter_whose_result_is_gone_has_failed_as_it_did(broker: EngineBroker, settings: Any) -> None:
    settings.TASKS_RESULT_EXPIRATION_DAYS = 1 / 86_400
    result = work.fail.enqueue("on purpose")
    with unlogged():
        drain()
    eventually(lambda: not broker.load_result(result.id)[0])
    assert status(result) == "FAILED"
    assert [error.exception_class for error in result.errors] == [ValueError]


def is_known(result: Any) -> bool:
    try:
        result.refresh()
    except TaskResultDoesNotExist:
        return False
    return True


def status(result: Any) -> str:
    result.refresh()
    return str(result.status)


def test_a_task_that_runs_too_long_is_interrupted(broker: EngineBroker) -> None:
    task = declared_with(work.pause, timeout=0.2)
    with unlogged(), working(broker):
        result = task.enqueue(0.6)
        eventually(result.ready)
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path.endswith("TimeLimitExceeded")
