"""Laws of dead letters."""

from __future__ import annotations

from typing import Any

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    DeadFilter,
    ResultEntry,
)
from django_cfg.testing.contracts.tools import (
    QUEUE,
    Client,
    dead,
    message,
    needs,
    stats,
)


class DeadLetterLaws:
    """Laws of dead letters."""

    def test_a_dead_letter_carries_its_reason_and_its_tracebacks(self, broker: EngineBroker) -> None:
        self._bury(broker)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert (letter.task, letter.queue, letter.reason) == ("work", QUEUE, "failed: ValueError")
        assert letter.message is not None
        assert letter.message.options["errors"][0]["traceback"] == "Traceback: bad"
        assert stats(broker).dead == 1

    def test_a_retried_dead_letter_starts_a_fresh_count_and_is_in_one_place(self, broker: EngineBroker) -> None:
        self._bury(broker, retries=7)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        broker.store_result(letter.message_id, ResultEntry("the old failure", 60_000))
        assert broker.retry_dead(DeadFilter(task="work")) == 1
        assert broker.load_result(letter.message_id) == (False, None)
        assert broker.dead_letters(DeadFilter(everything=True)) == []
        (claim,) = Client(broker).claim()
        assert "retries" not in claim.message.options
        assert "errors" not in claim.message.options
        assert claim.deliveries == 0

    def test_clearing_takes_only_what_the_filter_names(self, broker: EngineBroker) -> None:
        self._bury(broker)
        assert broker.clear_dead(DeadFilter(queue="other")) == 0
        assert broker.clear_dead(DeadFilter(queue=QUEUE)) == 1
        assert stats(broker).dead == 0

    def test_dead_letters_are_chosen_by_error_and_age(self, broker: EngineBroker) -> None:
        self._bury(broker)
        chosen = {
            DeadFilter(error="VALUEERROR"): 1,
            DeadFilter(error="ba"): 1,
            DeadFilter(error="KeyError"): 0,
            DeadFilter(older_than_s=60): 0,
            DeadFilter(newer_than_s=60): 1,
            DeadFilter(newer_than_s=60, task="other"): 0,
        }
        for only, count in chosen.items():
            assert (broker.count_dead(only), len(broker.dead_letters(only))) == (count, count), only
        assert broker.clear_dead(DeadFilter(older_than_s=60)) == 0
        assert broker.retry_dead(DeadFilter(error="bad"), spread_ms=200) == 1
        assert Client(broker).claim_soon().message.actor_name == "work"

    def test_a_dead_letter_that_is_named_twice_is_one(self, broker: EngineBroker) -> None:
        self._bury(broker)
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        twice = DeadFilter(message_ids=(letter.message_id, letter.message_id))
        assert (broker.count_dead(twice), len(broker.dead_letters(twice))) == (1, 1)
        assert broker.retry_dead(twice) == 1
        assert len(Client(broker).claim(count=5)) == 1

    def test_pages_of_dead_letters_miss_none_and_repeat_none_though_some_go_meanwhile(
        self, broker: EngineBroker
    ) -> None:
        broker.store_dead([message(f"work{number}") for number in range(7)], "of one moment")
        broker.store_dead([message()], "later")
        only, after, seen = DeadFilter(everything=True), "", list[str]()
        while page := broker.dead_letters(only, 3, after):
            seen += [letter.message_id for letter in page]
            after = page[-1].cursor
            broker.clear_dead(DeadFilter(message_ids=(page[0].message_id,)))
        assert len(seen) == len(set(seen)) == 8
        assert broker.dead_letters(only, 3, after) == []

    def test_a_filter_that_names_nothing_is_refused(self, broker: EngineBroker) -> None:
        try:
            DeadFilter()
        except ValueError as error:
            assert "everything=True" in str(error)
        else:
            raise AssertionError("an empty filter was accepted")

    @staticmethod
    def _bury(broker: EngineBroker, **options: Any) -> None:
        broker.enqueue(message(**options))
        client = Client(broker)
        (claim,) = client.claim()
        client.exchange(dead(claim))
        broker.close_session(client.session)

    def test_dead_letters_from_elsewhere_are_taken_over_once(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it does not know which id lives")
        lives, strange = broker.enqueue(message("work")), message("strange", 1, queue="other")
        for _ in range(2):
            broker.store_dead([lives, strange], "failed elsewhere")
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert (letter.message_id, letter.task, letter.queue) == (strange.message_id, "strange", "other")
        assert letter.reason == "failed elsewhere"
        assert broker.retry_dead(DeadFilter(task="strange")) == 1
        assert Client(broker).claim(queues=("other",))[0].message.args == (1,)
