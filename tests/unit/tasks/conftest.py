"""A broker in memory as Dramatiq's global one, with short backoffs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
from dramatiq import broker as dramatiq_broker

from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.conf import TaskSettings

FAST = TaskSettings(max_retries=2, min_backoff=10, max_backoff=20, max_deliveries=3, max_payload_bytes=100_000)


def serving(url: str, **changes: Any) -> Iterator[EngineBroker]:
    before = dramatiq_broker.global_broker
    broker = make.make(replace(FAST, broker_url=url, **changes))
    dramatiq.set_broker(broker)
    broker.flush_all()
    yield broker
    broker.flush_all()
    broker.close()
    dramatiq_broker.global_broker = before


@pytest.fixture
def stub(transactional_db: None) -> Iterator[EngineBroker]:
    """Workers on it still write their records to the test database."""
    yield from serving("stub://")


POSTGRES = pytest.param("database://postgres", marks=pytest.mark.postgres)


@pytest.fixture(params=["stub://", "database://default", POSTGRES])
def any_broker(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[EngineBroker]:
    """The broker in memory, on SQLite, and on PostgreSQL where it answers."""
    yield from serving(request.param)
