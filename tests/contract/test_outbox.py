"""The outbox on every broker that is no part of the default database's transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.test import TestCase
from dramatiq.results import ResultMissing

from django_cfg.errors import BrokerError, BrokerUnreachable, InvalidTaskOption
from django_cfg.tasks import queries
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.outbox import look
from django_cfg.tasks.brokers.outbox.relay import Relay
from django_cfg.tasks.models import OutboxMessage
from django_cfg.testing.contracts import Client, Failing, declare, message, working
from django_cfg.testing.contracts.transactions import Stored, fail, waits

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
NONE = timedelta(seconds=-1)  # the clock of SQLite has whole milliseconds
BROKERS = [
    "stub_broker",
    pytest.param("redis_broker", marks=pytest.mark.redis),
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> EngineBroker:
    found: EngineBroker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def down(broker: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the broker unreachable; what it returns brings it back."""

    def refuse(batch: Any) -> None:
        raise BrokerUnreachable("no answer")

    monkeypatch.setattr(broker, "store", refuse)
    return monkeypatch.undo


def relay(broker: EngineBroker, left_behind: timedelta = NONE) -> Relay:
    return Relay(broker, "default", left_behind)


def leave(broker: EngineBroker, *tasks: str, **options: Any) -> None:
    """Messages as a process leaves them that dies between its commit and the publish."""
    with suppress(Failing), transaction.atomic():
        transaction.on_commit(fail)  # stops every hook behind it
        broker.enqueue_many([message(task) for task in tasks], **options)


def in_outbox() -> int:
    return OutboxMessage.objects.count()


def test_a_thousand_sends_of_one_transaction_are_one_publish(broker: EngineBroker) -> None:
    stored = Stored(broker)
    with transaction.atomic():
        for n in range(1000):
            broker.enqueue(message("work", n))
        assert (stored.sizes, in_outbox()) == ([], 1000)
    assert (stored.sizes, in_outbox()) == ([1000], 0)


def test_a_hook_of_the_project_that_fails_costs_delay_and_no_message(broker: EngineBroker) -> None:
    leave(broker, "work")
    assert (waits(broker), in_outbox()) == ([], 1)
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == (["work"], 0)


def test_a_broker_that_is_down_after_the_commit_costs_delay_and_no_error(
    broker: EngineBroker, down: Callable[[], None]
) -> None:
    with transaction.atomic():
        broker.enqueue(message("work"))
    keeper = relay(broker)
    assert 1 < keeper.turn() < keeper.turn() <= 10
    down()
    assert keeper.turn() <= 1
    assert (waits(broker), in_outbox()) == (["work"], 0)


def test_a_broker_that_is_down_is_not_asked_by_every_request(broker: EngineBroker, down: Callable[[], None]) -> None:
    for _ in range(2):
        with transaction.atomic():
            broker.enqueue(message("work"))
        down()  # it is back, and the second request does not try
    assert (waits(broker), in_outbox()) == ([], 2)


def test_a_row_that_was_just_committed_is_left_to_its_process(broker: EngineBroker) -> None:
    leave(broker, "work")
    keeper = relay(broker, timedelta(seconds=5))
    keeper.turn()
    keeper.turn()
    assert (waits(broker), in_outbox()) == ([], 1)


def test_two_keepers_publish_each_message_once(broker: EngineBroker) -> None:
    leave(broker, *["work"] * 1500)
    stored, start = Stored(broker), threading.Barrier(2)

    def keep() -> None:
        keeper = relay(broker)
        start.wait()
        try:
            for _ in range(5):
                keeper.turn()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(stored.sizes), in_outbox()) == (1500, 0)


def test_a_claim_of_another_keeper_is_respected(broker: EngineBroker, down: Callable[[], None]) -> None:
    leave(broker, "work")

    def look_meanwhile(batch: Any) -> None:
        seen.append(relay(broker).turn())
        raise SystemExit  # the first keeper dies while it publishes

    seen: list[float] = []
    broker.store = look_meanwhile  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        relay(broker).turn()
    assert len(seen) == 1
    down()
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == ([], 1), "the claim of the dead keeper still holds"


def test_a_delay_of_a_message_left_behind_counts_from_the_send(broker: EngineBroker) -> None:
    leave(broker, "work", delay=60_000)
    row = OutboxMessage.objects.get()
    row.sent_at -= timedelta(seconds=59)
    row.save()
    relay(broker).turn()
    client = Client(broker)
    answer = client.exchange()
    assert answer.claims or 0 < (answer.next_due_ms or 0) <= 1000


def test_what_cannot_be_published_harms_no_other_and_stays_visible(broker: EngineBroker) -> None:
    leave(broker, "first", "second", "third")
    second = OutboxMessage.objects.order_by("pk")[1]
    second.body = "not JSON"
    second.save()
    relay(broker).turn()
    assert waits(broker) == ["first", "third"]
    (backlog,) = queries.outbox()
    assert (backlog.waiting, backlog.refused) == (0, 1)
    assert "not JSON" in OutboxMessage.objects.get().error


def test_a_message_in_the_outbox_is_found_by_its_id(broker: EngineBroker) -> None:
    with transaction.atomic():
        sent = broker.enqueue(message("work", 7), delay=500)
        found = look.find(sent.message_id)
        assert found is not None
        assert (found.message.args, found.alias, found.delay_ms, found.error) == ((7,), "default", 500, "")
    assert look.find(sent.message_id) is None


def cancelled(broker: EngineBroker, message_id: str) -> bool:
    """Whether who waits for its result is told."""
    is_there, value = broker.load_result(message_id)
    return is_there and "cancelled by an operator" in str(value)


def test_a_message_in_the_outbox_can_be_cancelled(broker: EngineBroker) -> None:
    leave(broker, "first", "second")
    first = OutboxMessage.objects.order_by("pk")[0].message_id
    assert broker.cancel(first)
    assert not broker.cancel(first)
    assert cancelled(broker, first)
    assert look.find(first) is None
    (backlog,) = queries.outbox()
    assert (backlog.waiting, backlog.refused) == (1, 0)
    relay(broker).turn()
    assert waits(broker) == ["second"]


def test_what_was_cancelled_leaves_the_outbox_after_a_while(broker: EngineBroker) -> None:
    leave(broker, "work")
    assert broker.cancel(OutboxMessage.objects.get().message_id)
    relay(broker).turn()
    assert in_outbox() == 1, "who has read the row and publishes it has to learn of the order"
    OutboxMessage.objects.update(free_at=Now() - timedelta(seconds=1))
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == ([], 0)


def test_a_message_that_is_cancelled_in_its_own_transaction_never_leaves_it(broker: EngineBroker) -> None:
    with transaction.atomic():
        sent = broker.enqueue_many([message("first"), message("second")])
        assert broker.cancel(sent[0].message_id)
    assert waits(broker) == ["second"]
    assert cancelled(broker, sent[0].message_id)


def test_a_cancel_that_is_rolled_back_is_none(broker: EngineBroker) -> None:
    leave(broker, "work")
    with suppress(Failing), transaction.atomic():
        assert broker.cancel(OutboxMessage.objects.get().message_id)
        fail()
    relay(broker).turn()
    assert waits(broker) == ["work"]


@pytest.mark.parametrize("publisher", ["process", "keeper"])
def test_a_message_that_is_cancelled_while_it_is_published_does_not_run(
    broker: EngineBroker, publisher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order finds the row, which its publisher has read already."""
    store = broker.store

    def cancel_first(batch: Any) -> None:
        monkeypatch.undo()
        assert broker.cancel(batch[0].message.message_id)
        store(batch)

    if publisher == "keeper":
        leave(broker, "first", "second")
        monkeypatch.setattr(broker, "store", cancel_first)
        relay(broker).turn()
    else:
        monkeypatch.setattr(broker, "store", cancel_first)
        with transaction.atomic():
            broker.enqueue_many([message("first"), message("second")])
    assert waits(broker) == ["second"]
    OutboxMessage.objects.update(free_at=Now() - timedelta(seconds=1))
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == (["second"], 0)


def test_a_broker_that_is_down_can_be_told_to_forget_what_it_never_got(
    broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise BrokerUnreachable("no answer")

    leave(broker, "work")
    row = OutboxMessage.objects.get()
    monkeypatch.setattr(broker, "store_result", refuse)
    monkeypatch.setattr(broker, "store", refuse)
    assert broker.cancel(row.message_id)
    monkeypatch.undo()
    OutboxMessage.objects.update(free_at=Now() - timedelta(seconds=1))
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == ([], 0)
    assert cancelled(broker, row.message_id)


def test_a_result_is_missing_while_its_message_is_in_the_outbox_and_after_a_rollback(broker: EngineBroker) -> None:
    actor = declare(lambda: None, actor_name="nothing")
    with suppress(Failing), transaction.atomic():
        sent = actor.send()
        with pytest.raises(ResultMissing):
            sent.get_result()
        fail()
    with pytest.raises(ResultMissing):
        sent.get_result()
    with transaction.atomic():
        sent = actor.send()
    with working(broker):
        assert sent.get_result(block=True) is None


def test_a_database_without_the_table_is_named_with_its_cure(broker: EngineBroker) -> None:
    table = OutboxMessage._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        says = r"'default', which has no outbox.*manage.py migrate, or send with"
        with pytest.raises(BrokerError, match=says), transaction.atomic():
            broker.enqueue(message("work"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE hidden RENAME TO {table}")


def test_a_project_that_commits_by_hand_leaves_its_messages_to_the_keeper(broker: EngineBroker) -> None:
    transaction.set_autocommit(False)
    try:
        broker.enqueue(message("work"))
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert (waits(broker), in_outbox()) == ([], 1)
    relay(broker).turn()
    assert (waits(broker), in_outbox()) == (["work"], 0)


def test_the_outbox_lies_in_the_database_of_the_transaction(stub_broker: EngineBroker) -> None:
    if "postgres" not in connections:
        pytest.skip("needs a second database")
    with transaction.atomic(using="postgres"):
        stub_broker.enqueue(message("work"))
        assert OutboxMessage.objects.using("postgres").count() == 1
        with transaction.atomic(using="default"):
            stub_broker.enqueue(message("work"))
            assert in_outbox() == 1
    assert waits(stub_broker) == ["work", "work"]


def test_captured_hooks_of_a_test_case_publish(stub_broker: EngineBroker) -> None:
    outermost = transaction.atomic()
    outermost._from_testcase = True
    with outermost:
        for count in (1, 2):
            with TestCase.captureOnCommitCallbacks(execute=True), transaction.atomic():
                stub_broker.enqueue(message("work"))
                stub_broker.enqueue(message("work"))
            assert len(waits(stub_broker)) == 2 * count


def test_a_project_may_switch_it_off(stub_broker: EngineBroker) -> None:
    object.__setattr__(stub_broker.settings, "enqueue_on_commit", False)
    try:
        with suppress(Failing), transaction.atomic():
            stub_broker.enqueue(message("work"))
            fail()
    finally:
        object.__setattr__(stub_broker.settings, "enqueue_on_commit", True)
    assert waits(stub_broker) == ["work"]


def test_the_option_is_a_flag(stub_broker: EngineBroker) -> None:
    with pytest.raises(InvalidTaskOption, match="enqueue_on_commit must be True or False, got 'no'"):
        declare(lambda: None, actor_name="work", enqueue_on_commit="no")
