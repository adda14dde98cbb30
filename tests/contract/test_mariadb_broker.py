"""The contract on the MariaDB broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = [pytest.mark.mariadb, pytest.mark.django_db(transaction=True, databases=["default", "mysql"])]


@pytest.fixture
def broker(mariadb_broker: EngineBroker) -> EngineBroker:
    return mariadb_broker


class TestMariadbBroker(BrokerContract, WorkerContract):
    """Every law."""
