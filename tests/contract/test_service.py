"""The service for monitoring code, on every broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from django.db import connections

from django_cfg.errors import BrokerUnreachable
from django_cfg.modules.django_tasks import (
    DjangoTasks,
    TaskManager,
    clear_dramatiq_queues,
    get_task_health,
    get_task_service,
)
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import Client, dead, message

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
BROKERS = [
    "stub_broker",
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("redis_broker", marks=pytest.mark.redis),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EngineBroker]:
    found: EngineBroker = request.getfixturevalue(request.param)
    found.declare_queue("default")
    yield found
    connections.close_all()


@pytest.fixture
def service() -> DjangoTasks:
    return get_task_service()


def bury(broker: EngineBroker, *tasks: str) -> None:
    for task in tasks:
        broker.enqueue(message(task))
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim(count=100)], count=0)


def test_queue_items_have_the_words_of_monitoring_code(broker: EngineBroker, service: DjangoTasks) -> None:
    broker.enqueue_many([message() for _ in range(3)])
    Client(broker).claim(count=1)
    (item,) = [item for item in service.get_queue_stats() if item["name"] == "default"]
    assert set(item) == {
        "name", "pending", "processing", "scheduled", "retrying", "dead", "oldest_pending_age_s",
    }  # fmt: skip
    assert (item["pending"], item["processing"]) == (2, 1)


def test_the_broker_answers_and_says_how_fast(broker: EngineBroker, service: DjangoTasks) -> None:
    found = service.check_broker()
    assert (found["reachable"], found["error"]) == (True, "")
    assert found["latency_ms"] >= 0


def test_redis_is_asked_only_where_it_is_used(broker: EngineBroker, service: DjangoTasks) -> None:
    is_redis = broker.settings.broker_url.startswith("redis")
    assert service.check_redis_connection() is (True if is_redis else None)


def test_failed_tasks_are_counted_retried_and_cleared_by_choice(broker: EngineBroker, service: DjangoTasks) -> None:
    bury(broker, "one", "two", "three")
    assert service.count_failed(everything=True) == 3
    assert service.retry_failed(task="one") == 1
    assert service.clear_failed(task="two") == 1
    assert service.count_failed(queue="default") == 1
    with pytest.raises(ValueError, match="everything=True"):
        service.clear_failed()


def test_a_queue_is_paused_and_resumed(broker: EngineBroker, service: DjangoTasks) -> None:
    service.pause("default")
    assert service.paused_queues() == ["default"]
    service.resume("default")
    assert service.paused_queues() == []


def test_a_waiting_task_is_cancelled(broker: EngineBroker, service: DjangoTasks) -> None:
    sent = broker.enqueue(message())
    assert service.cancel(sent.message_id)
    assert not service.cancel(sent.message_id)


def test_health_has_the_documented_keys(broker: EngineBroker) -> None:
    found = get_task_health()
    assert list(found) == [
        "enabled",
        "redis_connection",
        "configuration_valid",
        "workers",
        "queues",
        "discovered_modules",
    ]
    assert found["enabled"] is True
    assert found["configuration_valid"] is True
    assert found["workers"] == []
    assert [item["name"] for item in found["queues"]] == ["default"]


def test_health_never_raises_because_somebody_is_away(broker: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Any:
        raise BrokerUnreachable("gone")

    monkeypatch.setattr(dramatiq.get_broker(), "queue_stats", away)
    monkeypatch.setattr(dramatiq.get_broker(), "ping", away)
    found = get_task_health()
    assert found["queues"] == []
    assert found["redis_connection"] in (False, None)


def test_an_error_among_the_checks_makes_the_configuration_invalid(stub_broker: EngineBroker, settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"queues": ["other"]}
    dramatiq.actor(lambda: None, actor_name="lonely")
    assert get_task_health()["configuration_valid"] is False


def test_an_unreadable_configuration_is_invalid_and_no_crash(stub_broker: EngineBroker, settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"nonsense": 1}
    found = get_task_health()
    assert (found["enabled"], found["configuration_valid"], found["discovered_modules"]) == (False, False, [])


def test_clearing_queues_wants_names_or_everything(broker: EngineBroker) -> None:
    broker.enqueue_many([message(), message(), message(queue="mail")])
    with pytest.raises(ValueError, match="everything=True"):
        clear_dramatiq_queues()
    assert clear_dramatiq_queues("default", "unknown") == 2
    assert clear_dramatiq_queues(everything=True) == 1


def test_there_is_one_service_and_it_manages_tasks() -> None:
    assert get_task_service() is get_task_service()
    assert isinstance(get_task_service(), TaskManager)
    assert isinstance(get_task_service(), DjangoTasks)
