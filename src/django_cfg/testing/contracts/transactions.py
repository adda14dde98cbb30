"""Laws of sends inside a transaction of the default database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import FollowUp
from django_cfg.tasks.brokers.outbox import look
from django_cfg.testing.contracts.tools import QUEUE, Client, Failing, declare, message, needs, stats


def waits(broker: EngineBroker) -> list[str]:
    """The tasks that wait in the broker."""
    if broker.supports_peek:
        return [one.actor_name for one in broker.peek(QUEUE, 2000)]
    client = Client(broker)
    claims = client.claim(count=100)
    broker.close_session(client.session)  # gives them back
    return [claim.message.actor_name for claim in claims]


def fail() -> None:
    raise Failing("on purpose")


class Stored:
    """Counts what reaches the store, a batch at a time."""

    def __init__(self, broker: EngineBroker) -> None:
        self.sizes: list[int] = []
        self._store: Callable[[Sequence[FollowUp]], None] = broker.store
        broker.store = self._count  # type: ignore[method-assign]

    def _count(self, batch: Sequence[FollowUp]) -> None:
        self.sizes.append(len(batch))
        self._store(batch)


class TransactionLaws:
    """Laws of sends inside a transaction of the default database."""

    def test_what_is_sent_in_a_transaction_comes_with_its_commit(self, broker: EngineBroker) -> None:
        stored = Stored(broker)
        with transaction.atomic():
            broker.enqueue(message("kept"))
            assert stored.sizes == [] or broker.transaction_alias == "default"
        assert waits(broker) == ["kept"]
        assert look.find("any", using=["default"]) is None

    def test_what_is_sent_in_a_transaction_goes_with_its_rollback(self, broker: EngineBroker) -> None:
        with suppress(Failing), transaction.atomic():
            sent = broker.enqueue(message("dropped"))
            fail()
        assert waits(broker) == []
        assert look.find(sent.message_id, using=["default"]) is None
        assert not broker.accepted_here(sent) or broker.transaction_alias == "default"

    def test_a_rolled_back_savepoint_takes_only_its_own_messages_along(self, broker: EngineBroker) -> None:
        with transaction.atomic():
            with suppress(Failing), transaction.atomic():
                broker.enqueue(message("dropped"))
                with transaction.atomic():
                    broker.enqueue(message("dropped with it"))
                fail()
            broker.enqueue(message("kept"))
            with transaction.atomic():
                broker.enqueue(message("kept too"))
            with suppress(Failing), transaction.atomic():
                broker.enqueue(message("also dropped"))
                fail()
        assert waits(broker) == ["kept", "kept too"]

    def test_a_message_of_a_savepoint_that_is_kept_comes_with_the_commit(self, broker: EngineBroker) -> None:
        with transaction.atomic():
            with transaction.atomic():
                broker.enqueue(message("kept"))
            with suppress(Failing), transaction.atomic():
                fail()
        assert waits(broker) == ["kept"]

    def test_messages_of_a_transaction_keep_their_order(self, broker: EngineBroker) -> None:
        with transaction.atomic():
            broker.enqueue_many([message("first"), message("second")])
            broker.enqueue(message("third"))
        assert waits(broker) == ["first", "second", "third"]

    def test_a_delay_counts_from_the_send(self, broker: EngineBroker) -> None:
        with transaction.atomic():
            broker.enqueue(message("later"), delay=60_000)
        needs(broker.counts_exactly, "it does not count short delays")
        assert stats(broker).scheduled == 1

    def test_a_second_transaction_is_like_the_first(self, broker: EngineBroker) -> None:
        for is_kept in (True, False, True):
            with suppress(Failing), transaction.atomic():
                broker.enqueue(message("work"))
                if not is_kept:
                    fail()
        assert waits(broker) == ["work", "work"]

    def test_a_hook_after_the_commit_sends_at_once(self, broker: EngineBroker) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: broker.enqueue(message("work")) and None)
        assert waits(broker) == ["work"]

    def test_the_block_around_a_test_case_is_no_transaction(self, broker: EngineBroker) -> None:
        outermost: Any = transaction.atomic()
        outermost._from_testcase = True  # what django.test.TestCase does
        with outermost:
            broker.enqueue(message("work"))
            assert waits(broker) == ["work"]

    def test_a_task_or_a_call_may_be_sent_at_once(self, broker: EngineBroker) -> None:
        at_once = declare(lambda: None, actor_name="at_once", enqueue_on_commit=False)
        other = declare(lambda: None, actor_name="other")
        with suppress(Failing), transaction.atomic():
            at_once.send()
            other.send_with_options(enqueue_on_commit=False)
            other.send()
            at_once.send_with_options(enqueue_on_commit=True)
            fail()
        part_of_it = broker.transaction_alias == "default"
        assert waits(broker) == ([] if part_of_it else ["at_once", "other"])

    def test_an_async_send_in_a_transaction_comes_with_its_commit(self, broker: EngineBroker) -> None:
        actor: Any = declare(lambda: None, actor_name="work")
        with suppress(Failing), transaction.atomic():
            async_to_sync(actor.asend)()
            fail()
        assert waits(broker) == []
        with transaction.atomic():
            async_to_sync(actor.asend)()
        assert waits(broker) == ["work"]
