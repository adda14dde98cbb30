"""The contract on the sqlite broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(sqlite_broker: EngineBroker) -> EngineBroker:
    return sqlite_broker


class TestSqliteBroker(BrokerContract, WorkerContract):
    """Every law."""
