"""Django's Tasks framework with real transactions and with workers in threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from django.db import transaction

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.compat import TaskResultDoesNotExist, TaskResultStatus
from django_cfg.testing import drain, eventually
from django_cfg.testing.contracts import unlogged, working
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


def test_a_task_that_runs_too_long_is_interrupted(broker: EngineBroker) -> None:
    task = declared_with(work.pause, timeout=0.2)
    with unlogged(), working(broker):
        result = task.enqueue(0.6)
        eventually(result.ready)
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path.endswith("TimeLimitExceeded")
