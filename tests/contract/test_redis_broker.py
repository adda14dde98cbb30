"""The contract on the Redis broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def broker(redis_broker: EngineBroker) -> EngineBroker:
    return redis_broker


class TestRedisBroker(BrokerContract, WorkerContract):
    """Every law."""
