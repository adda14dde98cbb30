"""The contract on the RabbitMQ broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = [pytest.mark.rabbitmq, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def broker(rabbitmq_broker: EngineBroker) -> EngineBroker:
    return rabbitmq_broker


class TestRabbitmqBroker(BrokerContract, WorkerContract):
    """Every law but those that its flags exclude."""
