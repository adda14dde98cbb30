"""What only a broker in the project's own database promises."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from django_cfg.errors import BrokerError, BrokerUnreachable, ConfigurationError
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.contract import DeadFilter, ResultEntry
from django_cfg.tasks.brokers.database import waiters
from django_cfg.tasks.brokers.database.broker import DatabaseBroker
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.models import QueueMessage
from django_cfg.testing.contracts import (
    QUEUE,
    Client,
    dead,
    dead_process,
    declare,
    done,
    message,
    released,
    retry,
    stats,
    waiting,
    working,
)
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=list(settings.DATABASES))
ON_EACH = [
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("mariadb_broker", marks=pytest.mark.mariadb),
]


@pytest.fixture(params=ON_EACH)
def broker(request: pytest.FixtureRequest) -> DatabaseBroker:
    found: DatabaseBroker = request.getfixturevalue(request.param)
    return found


def rows(broker: DatabaseBroker) -> QuerySet[QueueMessage]:
    return QueueMessage.objects.using(broker.alias)


class Rollback(Exception):
    """Ends a transaction of a test."""


def test_a_message_of_a_transaction_that_rolls_back_never_exists(broker: DatabaseBroker) -> None:
    with pytest.raises(Rollback), transaction.atomic(using=broker.alias):
        broker.enqueue(message())
        raise Rollback
    assert Client(broker).claim() == []


def test_a_message_is_invisible_until_its_transaction_commits(broker: DatabaseBroker) -> None:
    seen: list[int] = []

    def count() -> None:
        seen.append(rows(broker).count())
        connections.close_all()

    with transaction.atomic(using=broker.alias):
        broker.enqueue(message())
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    assert (seen, stats(broker).pending) == ([0], 1)


@pytest.mark.postgres
def test_a_commit_wakes_a_waiting_worker_once(postgres_broker: DatabaseBroker) -> None:
    with waiting(postgres_broker) as returned:
        assert not returned.wait(0.2)
        with transaction.atomic(using="postgres"):
            postgres_broker.enqueue(message())
            postgres_broker.enqueue(message())
            assert len(connections["postgres"].run_on_commit) == 1
        assert returned.wait(5)


@pytest.mark.postgres
def test_a_connection_on_which_nothing_can_be_written_is_given_up(postgres_broker: DatabaseBroker) -> None:
    """As one to the old server is after a failover."""

    def spoil() -> None:
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    client = Client(postgres_broker)
    for act in (
        lambda: postgres_broker.enqueue(message()),
        client.claim,
        lambda: postgres_broker.arrive("group", "one"),
    ):
        spoil()
        with pytest.raises(BrokerUnreachable, match="read-only"):
            act()
        act()


@pytest.mark.postgres
@pytest.mark.parametrize("way", ["outcome", "release", "close", "sweep"])
def test_what_goes_back_wakes_a_waiting_worker(
    postgres_broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(waiters, "LISTEN_POLL_S", 60.0)
    postgres_broker.enqueue(message())
    client = Client(postgres_broker, dead_process() if way == "sweep" else None)
    (claim,) = client.claim()
    ways = {
        "outcome": lambda: client.exchange(released(claim), count=0),
        "release": lambda: postgres_broker.release(client.session, [claim.message_id]),
        "close": lambda: postgres_broker.close_session(client.session),
        "sweep": lambda: postgres_broker.sweep(identity()),
    }
    with waiting(postgres_broker) as returned:
        assert not returned.wait(0.2)
        ways[way]()
        assert returned.wait(5)


@pytest.mark.postgres
def test_many_retries_and_burials_travel_in_few_statements(postgres_broker: DatabaseBroker) -> None:
    postgres_broker.enqueue_many([message() for _ in range(60)])
    client = Client(postgres_broker)
    claims = client.claim(count=60)
    outcomes = [(retry if n % 2 else dead)(claim) for n, claim in enumerate(claims)]
    with CaptureQueriesContext(connections["postgres"]) as sent:
        assert not client.exchange(*outcomes, count=0).refused
    assert len(sent) <= 12
    assert (stats(postgres_broker).retrying + stats(postgres_broker).pending, stats(postgres_broker).dead) == (30, 30)


@pytest.mark.postgres
def test_many_undecodable_messages_are_buried_in_few_statements(postgres_broker: DatabaseBroker) -> None:
    postgres_broker.enqueue_many([message() for _ in range(50)])
    rows(postgres_broker).update(body="not JSON")
    client = Client(postgres_broker)
    with CaptureQueriesContext(connections["postgres"]) as sent:
        answer = client.exchange(count=60)
    assert (answer.claims, answer.unfit, stats(postgres_broker).dead) == ((), 50, 50)
    assert len(sent) <= 12


def test_what_is_buried_at_a_claim_is_told_so_that_a_worker_looks_again_at_once(broker: DatabaseBroker) -> None:
    broker.enqueue(message())
    client = Client(broker)
    [claim] = client.claim()
    broker.enqueue_many([message() for _ in range(3)])
    rows(broker).exclude(message_id=claim.message_id).update(body="not JSON")
    answer = client.exchange(retry(claim), count=3)
    assert (answer.claims, answer.unfit) == ((), 3)


def test_an_undecodable_message_is_a_dead_letter_and_harms_nobody(broker: DatabaseBroker) -> None:
    bad, good = broker.enqueue(message()), broker.enqueue(message())
    rows(broker).filter(message_id=bad.message_id).update(body='{"not": "a message"}')
    (claim,) = Client(broker).claim()
    assert claim.message_id == good.message_id
    (letter,) = broker.dead_letters(DeadFilter(everything=True))
    assert (letter.message_id, letter.reason) == (bad.message_id, "undecodable message")
    assert "queue_name" in letter.error


def test_a_pickle_in_the_queue_is_never_loaded(broker: DatabaseBroker) -> None:
    sent = broker.enqueue(message())
    rows(broker).filter(message_id=sent.message_id).update(body="cos\nsystem\n(S'true'\ntR.")
    assert Client(broker).claim() == []
    assert stats(broker).dead == 1


def test_a_name_in_a_message_is_looked_up_and_never_imported(broker: DatabaseBroker) -> None:
    broker.enqueue(message("os.system", "true"))
    echo = declare(lambda n: n, actor_name="echo")
    with working(broker):
        assert echo.send(1).get_result(block=True) == 1
    assert stats(broker).retrying == 1


@pytest.mark.parametrize("name", ["'; DROP TABLE x; --", "%s", 'q"q', "ü" * 50])
def test_queue_names_are_data(broker: DatabaseBroker, name: str) -> None:
    sent = broker.enqueue(message(queue=name))
    (claim,) = Client(broker).claim(queues=(name,))
    assert claim.message_id == sent.message_id


def test_a_database_without_tables_names_the_command_that_makes_them(broker: DatabaseBroker) -> None:
    table = QueueMessage._meta.db_table
    connection = connections[broker.alias]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        with pytest.raises(BrokerError, match=r"python manage\.py migrate"):
            broker.enqueue(message())
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE hidden RENAME TO {table}")


def test_ids_and_queues_that_differ_in_case_or_blanks_are_different(broker: DatabaseBroker) -> None:
    names = ("work", "WORK", "work ")
    broker.enqueue_many([message(queue=name).copy(message_id=f"id of {name}") for name in names])
    assert [c.message_id for c in Client(broker).claim(queues=("WORK",))] == ["id of WORK"]
    assert rows(broker).count() == 3


def test_every_character_is_stored_as_it_came(broker: DatabaseBroker) -> None:
    text = "naïve ≠ 😀 'quoted' \"twice\" back\\slash %s ;"
    broker.enqueue(message("work", text))
    (claim,) = Client(broker).claim()
    assert claim.message.args == (text,)


def test_a_batch_larger_than_a_packet_is_accepted_in_one_step(broker: DatabaseBroker) -> None:
    broker.enqueue_many([message("work", "x" * 90_000) for _ in range(300)])
    assert rows(broker).count() == 300


def test_results_larger_than_a_packet_are_stored_in_one_step(broker: DatabaseBroker) -> None:
    broker.enqueue_many([message("work", n) for n in range(64)])
    client, text = Client(broker), '"' * 100_000
    claims = client.claim(count=64)
    outcomes = [done(claim, result=ResultEntry(text, 60_000)) for claim in claims]
    assert not client.exchange(*outcomes, count=0).refused
    assert {broker.load_result(claim.message_id) for claim in claims} == {(True, text)}


def test_what_became_due_in_bulk_is_all_run(broker: DatabaseBroker) -> None:
    broker.enqueue_many([message("work", n) for n in range(2500)], delay=1)
    client, seen = Client(broker), set[str]()

    def drain() -> bool:
        seen.update(claim.message_id for claim in client.claim(count=500))
        return len(seen) == 2500

    eventually(drain)


def test_many_queues_are_served_in_one_exchange(broker: DatabaseBroker) -> None:
    names = tuple(f"queue {n}" for n in range(250))
    broker.enqueue_many([message(queue=name) for name in names])
    assert len(Client(broker).claim(count=250, queues=names)) == 250


def test_a_message_cancelled_while_it_was_handed_back_does_not_run(broker: DatabaseBroker) -> None:
    sent, client = broker.enqueue(message()), Client(broker)
    (claim,) = client.claim()
    client.exchange(released(claim), count=0)
    rows(broker).update(cancel_requested=True)  # as if the word had come between the worker's look and its release
    assert client.claim() == []
    assert not broker.holds(sent.message_id)


def test_an_unknown_database_alias_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'nowhere', which DATABASES does not have; known: default"):
        make.make(TaskSettings(broker_url="database://nowhere"))


def test_four_workers_and_many_senders_meet_no_lock_error(broker: DatabaseBroker) -> None:
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
