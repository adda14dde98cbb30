"""Laws of accepting messages, now and for later."""

from __future__ import annotations

from django_cfg.errors import NotSerializable, PayloadTooLarge
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts.tools import (
    Client,
    declare,
    done,
    ids,
    message,
    needs,
    stats,
)


class AcceptingLaws:
    """Laws of accepting messages, now and for later."""

    def test_an_accepted_message_is_claimed_by_one_session_only(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message("work", 1, "two"))
        first, second = Client(broker), Client(broker)
        (claim,) = first.claim()
        assert claim.message == sent
        assert second.claim() == []

    def test_messages_of_one_priority_run_in_the_order_of_their_acceptance(self, broker: EngineBroker) -> None:
        sent = broker.enqueue_many([message("work", n) for n in range(20)])
        assert ids(Client(broker).claim(count=20)) == [m.message_id for m in sent]

    def test_a_lower_priority_number_runs_first(self, broker: EngineBroker) -> None:
        declare(lambda: None, actor_name="late", priority=10)
        declare(lambda: None, actor_name="early", priority=-10)
        for task in ("late", "work", "early"):
            broker.enqueue(message(task))
        assert [c.message.actor_name for c in Client(broker).claim()] == ["early", "work", "late"]

    def test_a_message_with_a_priority_of_its_own_runs_in_its_turn(self, broker: EngineBroker) -> None:
        declare(lambda: None, actor_name="late", priority=10)
        broker.enqueue(message("late", "usual"))
        broker.enqueue(message("late", "middle", priority=0))
        broker.enqueue(message("late", "early", priority=-10))
        assert [c.message.args for c in Client(broker).claim()] == [("early",), ("middle",), ("usual",)]

    def test_queues_share_a_claim_fairly(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("work", queue="a") for _ in range(10)])
        broker.enqueue_many([message("work", queue="b") for _ in range(10)])
        claims = Client(broker).claim(count=4, queues=("a", "b"))
        assert sorted(c.message.queue_name for c in claims) == ["a", "a", "b", "b"]

    def test_a_claim_takes_only_the_queues_that_were_asked_for(self, broker: EngineBroker) -> None:
        broker.enqueue(message("work", queue="other"))
        assert Client(broker).claim() == []

    def test_a_living_id_is_accepted_once(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it accepts an id that still lives a second time")
        sent = message()
        broker.enqueue(sent)
        broker.enqueue(sent)
        assert len(Client(broker).claim()) == 1

    def test_a_finished_id_starts_a_new_generation(self, broker: EngineBroker) -> None:
        sent, client = message(), Client(broker)
        broker.enqueue(sent)
        (first,) = client.claim()
        client.exchange(done(first))
        broker.enqueue(sent)
        second = client.claim_soon()
        assert second.generation >= first.generation
        assert second.deliveries == 0

    def test_a_batch_with_one_bad_message_stores_none(self, broker: EngineBroker) -> None:
        try:
            broker.enqueue_many([message("work", 1), message("work", {1, 2})])
        except NotSerializable as error:
            assert "argument 1 of work: set is not JSON; pass a list" in str(error)
        else:
            raise AssertionError("a set was accepted")
        assert Client(broker).claim() == []

    def test_a_payload_above_the_limit_is_refused_at_once(self, broker: EngineBroker) -> None:
        try:
            broker.enqueue(message("work", "x" * (broker.settings.max_payload_bytes + 1)))
        except PayloadTooLarge as error:
            assert "max_payload_bytes" in str(error)
        else:
            raise AssertionError("a huge payload was accepted")

    def test_a_message_cannot_raise_the_limits_of_its_task(self, broker: EngineBroker) -> None:
        declare(lambda: None, actor_name="limited", max_retries=1, time_limit=1000)
        broker.enqueue(message("limited", max_retries=99, time_limit=10**9))
        (claim,) = Client(broker).claim()
        assert (claim.message.options["max_retries"], claim.message.options["time_limit"]) == (1, 1000)

    def test_a_delayed_message_waits_in_the_broker_until_it_is_due(self, broker: EngineBroker) -> None:
        client = Client(broker)
        broker.enqueue(message(), delay=300)
        assert client.claim() == []
        claim = client.claim_soon()
        assert claim.message.actor_name == "work"
        assert claim.age_ms >= 300

    def test_it_is_known_when_the_next_delayed_message_is_due(self, broker: EngineBroker) -> None:
        needs(broker.counts_exactly, "it does not know what waits for its time")
        broker.enqueue(message(), delay=300)
        next_due_ms = Client(broker).exchange().next_due_ms
        assert next_due_ms is not None
        assert 0 < next_due_ms <= 300
        assert stats(broker).scheduled == 1

    def test_what_is_due_sooner_does_not_wait_for_what_is_due_later(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("later") for _ in range(50)], delay=3_600_000)
        broker.enqueue(message("soon"), delay=50)
        assert Client(broker).claim_soon().message.actor_name == "soon"
