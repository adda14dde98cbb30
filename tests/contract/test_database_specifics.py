"""What only a broker in the project's own database promises."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
import pytest
from django.db import connection, connections, transaction

from django_cfg.errors import BrokerError, ConfigurationError
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.models import QueueMessage
from django_cfg.testing.contracts import QUEUE, Client, declare, message, stats, waiting, working

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(sqlite_broker: EngineBroker) -> EngineBroker:
    return sqlite_broker


class Rollback(Exception):
    """Ends a transaction of a test."""


def test_a_message_of_a_transaction_that_rolls_back_never_exists(broker: EngineBroker) -> None:
    with pytest.raises(Rollback), transaction.atomic():
        broker.enqueue(message())
        raise Rollback
    assert Client(broker).claim() == []


def test_a_message_is_invisible_until_its_transaction_commits(broker: EngineBroker) -> None:
    seen: list[int] = []

    def count() -> None:
        seen.append(QueueMessage.objects.count())
        connections.close_all()

    with transaction.atomic():
        broker.enqueue(message())
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    assert (seen, stats(broker).pending) == ([0], 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_commit_wakes_a_waiting_worker_once(postgres_broker: EngineBroker) -> None:
    with waiting(postgres_broker) as returned:
        assert not returned.wait(0.2)
        with transaction.atomic(using="postgres"):
            postgres_broker.enqueue(message())
            postgres_broker.enqueue(message())
            assert len(connections["postgres"].run_on_commit) == 1
        assert returned.wait(5)


def test_an_undecodable_message_is_a_dead_letter_and_harms_nobody(broker: EngineBroker) -> None:
    bad, good = broker.enqueue(message()), broker.enqueue(message())
    QueueMessage.objects.filter(message_id=bad.message_id).update(body='{"not": "a message"}')
    (claim,) = Client(broker).claim()
    assert claim.message_id == good.message_id
    (letter,) = broker.dead_letters(DeadFilter(everything=True))
    assert (letter.message_id, letter.reason) == (bad.message_id, "undecodable message")
    assert "queue_name" in letter.error


def test_a_pickle_in_the_queue_is_never_loaded(broker: EngineBroker) -> None:
    sent = broker.enqueue(message())
    QueueMessage.objects.filter(message_id=sent.message_id).update(body="cos\nsystem\n(S'true'\ntR.")
    assert Client(broker).claim() == []
    assert stats(broker).dead == 1


def test_a_name_in_a_message_is_looked_up_and_never_imported(broker: EngineBroker) -> None:
    broker.enqueue(message("os.system", "true"))
    echo = declare(lambda n: n, actor_name="echo")
    with working(broker):
        assert echo.send(1).get_result(block=True) == 1
    assert stats(broker).retrying == 1


@pytest.mark.parametrize("name", ["'; DROP TABLE x; --", "%s", 'q"q', "ü" * 50])
def test_queue_names_are_data(broker: EngineBroker, name: str) -> None:
    sent = broker.enqueue(message(queue=name))
    (claim,) = Client(broker).claim(queues=(name,))
    assert claim.message_id == sent.message_id


def test_a_database_without_tables_names_the_command_that_makes_them(broker: EngineBroker) -> None:
    table = QueueMessage._meta.db_table
    with connection.schema_editor() as editor:
        editor.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        with pytest.raises(BrokerError, match=r"python manage\.py migrate"):
            broker.enqueue(message())
    finally:
        with connection.schema_editor() as editor:
            editor.execute(f"ALTER TABLE hidden RENAME TO {table}")


def test_an_unknown_database_alias_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'nowhere', which DATABASES does not have; known: default"):
        make.make(TaskSettings(broker_url="database://nowhere"))


def test_four_workers_and_many_senders_meet_no_lock_error(broker: EngineBroker) -> None:
    actor: Any = declare(lambda n: None, actor_name="busy")
    errors: list[BaseException] = []

    def send() -> None:
        try:
            for number in range(50):
                actor.send(number)
        except BrokerError as error:
            errors.append(error)
        finally:
            connections.close_all()

    with working(broker), working(broker), working(broker), working(broker):
        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        dramatiq.get_broker().join(QUEUE, timeout=30_000)
    assert errors == []
    assert stats(broker).dead == 0
