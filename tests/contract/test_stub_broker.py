"""The contract on the stub broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(stub_broker: EngineBroker) -> EngineBroker:
    return stub_broker


class TestStubBroker(BrokerContract, WorkerContract):
    """Every law."""
