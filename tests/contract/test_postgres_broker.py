"""The contract on the postgres broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True, databases=["default", "postgres"])]


@pytest.fixture
def broker(postgres_broker: EngineBroker) -> EngineBroker:
    return postgres_broker


class TestPostgresBroker(BrokerContract, WorkerContract):
    """Every law."""
