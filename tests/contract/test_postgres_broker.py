"""The contract on the postgres broker."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.database.broker import DatabaseBroker
from django_cfg.testing.contracts import BrokerContract, WorkerContract

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True, databases=["default", "postgres"])]


@pytest.fixture
def broker(postgres_broker: EngineBroker) -> EngineBroker:
    return postgres_broker


class TestPostgresBroker(BrokerContract, WorkerContract):
    """Every law."""


def test_a_worker_knows_before_its_first_exchange_whether_its_statements_may_stay_prepared(
    postgres_broker: DatabaseBroker,
) -> None:
    waiter = postgres_broker.waiter()
    assert not postgres_broker.is_direct
    waiter.begin()
    assert postgres_broker.is_direct
    waiter.close()
    assert not postgres_broker.is_direct
