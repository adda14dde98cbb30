"""Laws of outcomes: each releases its message and stores what comes with it."""

from __future__ import annotations

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    FollowUp,
    ResultEntry,
)
from django_cfg.testing.contracts.tools import (
    Client,
    done,
    ids,
    message,
    released,
    retry,
    stats,
)
from django_cfg.testing.waiting import eventually


class SettlingLaws:
    """Laws of outcomes: each releases its message and stores what comes with it."""

    def test_a_finished_message_is_gone(self, broker: EngineBroker) -> None:
        sent, client = broker.enqueue(message()), Client(broker)
        (claim,) = client.claim()
        assert not broker.supports_find or broker.holds(sent.message_id)
        assert client.exchange(done(claim)).refused == frozenset()
        assert not broker.supports_find or not broker.holds(sent.message_id)
        assert Client(broker).claim() == []

    def test_a_retry_is_stored_changed_in_the_step_that_releases_it(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (first,) = client.claim()
        client.exchange(retry(first, retries=1), count=0)
        second = client.claim_soon()
        assert second.message.options["retries"] == 1
        assert second.fence > first.fence

    def test_a_retry_waits_its_delay(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(retry(claim, 60_000))
        assert client.claim() == []
        assert stats(broker).retrying in (1, None)

    def test_an_outcome_with_an_old_fence_is_refused_and_changes_nothing(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        (old,) = client.claim()
        client.exchange(released(old), count=0)
        (new,) = client.claim()
        extra = FollowUp(message("follow"))
        assert client.exchange(done(old, follow_ups=(extra,))).refused == {old.message_id}
        assert not broker.supports_find or broker.holds(new.message_id)
        assert client.exchange(done(new)).refused == frozenset()
        assert client.claim() == []

    def test_a_repeated_exchange_gives_the_same_answer_and_settles_once(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message("work", n) for n in range(3)])
        client = Client(broker)
        (claim, *_) = client.claim(count=1)
        outcome = done(claim, follow_ups=(FollowUp(message("follow")),))
        first = client.exchange(outcome, count=1)
        again = client.repeat(outcome, count=1)
        assert [(c.message_id, c.fence) for c in again.claims] == [(c.message_id, c.fence) for c in first.claims]
        assert again.refused == first.refused
        left = [client.claim_soon().message.actor_name for _ in range(2)]
        assert sorted(left) == ["follow", "work"]
        assert client.claim() == []

    def test_a_released_message_goes_back_to_its_old_position_uncounted(self, broker: EngineBroker) -> None:
        sent = broker.enqueue_many([message("work", n) for n in range(3)])
        client = Client(broker)
        (first,) = client.claim(count=1)
        client.exchange(released(first), count=0)
        claims = client.claim()
        assert ids(claims) == [m.message_id for m in sent]
        assert claims[0].deliveries == 0

    def test_follow_ups_and_results_are_stored_with_the_outcome(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(done(claim, follow_ups=(FollowUp(message("next")),), result=ResultEntry([1], 60_000)), count=0)
        assert broker.load_result(sent.message_id) == (True, [1])
        assert client.claim_soon().message.actor_name == "next"

    def test_results_that_are_stored_together_come_back_each_as_it_was(self, broker: EngineBroker) -> None:
        values = [None, "", "\x00\x1f\n,{}\"\\'%s", "ü", {"\x1f": ["\u2028"]}, 1.5]
        broker.enqueue_many([message("work", n) for n in range(len(values) + 1)])
        client = Client(broker)
        silent, *claims = client.claim()
        outcomes = [done(claim, result=ResultEntry(value, 60_000)) for claim, value in zip(claims, values, strict=True)]
        answer = client.exchange(done(silent), *outcomes, count=0)
        assert not answer.refused
        assert [broker.load_result(claim.message_id) for claim in claims] == [(True, value) for value in values]

    def test_a_result_expires(self, broker: EngineBroker) -> None:
        broker.store_result("some-id", ResultEntry("value", 50))
        eventually(lambda: broker.load_result("some-id") == (False, None))
