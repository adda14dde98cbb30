"""Backends of Django tasks with brokers of their own: what keepers do for the whole project does not mix them up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_cfg.tasks import compat, queries, upkeep
from django_cfg.tasks.backends import stores
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.endings import FINDABLE
from django_cfg.tasks.compat import task_backends
from django_cfg.tasks.cron.declared import make_tasks_known
from django_cfg.tasks.management.commands import rundramatiq
from django_cfg.tasks.models import TaskRecord
from django_cfg.tasks.worker.ledger import Ledgers
from django_cfg.tasks.worker.notices import Teller
from django_cfg.testing import drain
from django_cfg.testing.contracts import unlogged
from tests.contract import work

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
OURS = "django_cfg.tasks.backends.EngineBackend"
FAST = {
    "default": {"BACKEND": OURS, "QUEUES": []},
    "fast": {"BACKEND": OURS, "QUEUES": [], "OPTIONS": {"broker_url": "stub://"}},
}


@pytest.fixture(autouse=True)
def fast(sqlite_broker: EngineBroker) -> Iterator[EngineBroker]:
    """The broker of the backend `fast`, beside the project's."""
    with override_settings(TASKS=FAST):
        backend: Any = task_backends["fast"]
        yield backend.broker
        backend.broker.close()
    stores._others.clear()


def record(message_id: str, state: str) -> TaskRecord:
    long_ago = timezone.now() - timedelta(hours=1)
    given = {"message_id": message_id, "task": work.note.module_path, "queue": "default", "state": state}
    return TaskRecord.objects.create(enqueued_at=long_ago, updated_at=long_ago, **given)


def test_records_follow_the_broker_of_their_task(sqlite_broker: EngineBroker, fast: EngineBroker) -> None:
    assert queries.brokers() == [sqlite_broker, fast]
    waits = work.note.using(backend="fast").enqueue("x")
    failed = work.fail.using(backend="fast", queue_name="q").enqueue()
    with unlogged():
        drain(backend="fast", queues=["q"])
    open_one, dead_one = record(waits.id, "retrying"), record(failed.id, "dead_letter")
    assert upkeep.reconcile() == 0
    assert list(TaskRecord.objects.order_by("pk")) == sorted([open_one, dead_one], key=lambda row: row.pk)


@pytest.mark.rabbitmq
def test_a_broker_that_finds_no_message_says_nothing_of_open_records(rabbitmq_broker: EngineBroker) -> None:
    record("m-1", "running"), record("m-2", "dead_letter")
    assert upkeep.reconcile() == 0
    assert sorted(TaskRecord.objects.values_list("state", flat=True)) == ["dead_letter", "running"]


def test_a_keeper_of_another_broker_ticks_onto_the_projects(
    sqlite_broker: EngineBroker, fast: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[EngineBroker] = []
    monkeypatch.setattr(rundramatiq, "schedule_chores", lambda broker, settings: given.append(broker) or [])
    rundramatiq.chores(fast, Ledgers())
    assert given == [sqlite_broker]


def test_a_schedule_may_have_a_task_of_a_foreign_backend(sqlite_broker: EngineBroker) -> None:
    foreign = {"BACKEND": f"{compat.MODULE}.backends.dummy.DummyBackend", "QUEUES": []}
    with override_settings(TASKS={**FAST, "foreign": foreign}):
        work.declared_with(work.note, backend="foreign")
        make_tasks_known()
        actor: Any = sqlite_broker.actors[work.note.module_path]
        assert actor.tick_options()[FINDABLE].keys() == {"enqueued_at"}
    work.declare_again()


def test_each_broker_has_its_notices(sqlite_broker: EngineBroker, fast: EngineBroker) -> None:
    target = "https://hooks.example/x"
    tellers = [Teller(broker, broker.settings, target) for broker in (sqlite_broker, fast, sqlite_broker)]
    assert len({teller._name for teller in tellers}) == 2
