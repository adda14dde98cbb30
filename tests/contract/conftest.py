"""Brokers under test, each empty and with short backoffs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
from django.conf import settings as django_settings
from dramatiq import broker as dramatiq_broker

from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.conf import TaskSettings

FAST = TaskSettings(max_retries=2, min_backoff=100, max_backoff=200, max_deliveries=3, max_payload_bytes=100_000)

#: Every broker that a project may name by its URL.
BROKERS = [
    "database://default",
    pytest.param("database://postgres", marks=pytest.mark.postgres),
    pytest.param("database://mysql", marks=pytest.mark.mariadb),
    pytest.param(django_settings.REDIS_URL, marks=pytest.mark.redis),
    pytest.param(django_settings.RABBITMQ_URL, marks=pytest.mark.rabbitmq),
]
PREFIXES = {
    "redis_key_prefix": django_settings.REDIS_PREFIX,
    "rabbitmq_prefix": django_settings.RABBITMQ_PREFIX,
}


#: They look into the outboxes of every database; to make the others ready too would cost each law a second.
EVERYWHERE = (
    "test_a_cancelled_message_never_runs",
    "test_cancelling_a_claimed_message_revokes_it_and_lets_it_go",
    "test_a_cancelled_long_delay_is_gone_at_once",
    "test_a_cancelled_message_that_was_given_back_is_dropped_with_its_order",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name in EVERYWHERE:
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))


def serving(url: str, **more: Any) -> Iterator[EngineBroker]:
    """The broker of a URL as Dramatiq's global one."""
    before = dramatiq_broker.global_broker
    broker = make.make(replace(FAST, broker_url=url, **more))
    dramatiq.set_broker(broker)
    broker.flush_all()
    yield broker
    broker.flush_all()
    broker.close()
    dramatiq_broker.global_broker = before


@pytest.fixture
def stub_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("stub://")


@pytest.fixture
def sqlite_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("database://default")


@pytest.fixture
def postgres_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("database://postgres")


@pytest.fixture
def mariadb_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("database://mysql")


@pytest.fixture
def redis_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving(django_settings.REDIS_URL, redis_key_prefix=django_settings.REDIS_PREFIX)


@pytest.fixture
def rabbitmq_broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving(django_settings.RABBITMQ_URL, rabbitmq_prefix=django_settings.RABBITMQ_PREFIX)
