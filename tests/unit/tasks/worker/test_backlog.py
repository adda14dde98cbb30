"""Claims wait for a thread, best priority first, and can be taken back until one has them."""

from __future__ import annotations

import threading
from typing import Any

from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.tasks.brokers.contract import Claim
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.testing.waiting import eventually


def claim(priority: int = 0, deliveries: int = 0) -> Claim:
    return Claim(Message("default", "task", (), {}, {}), 1, deliveries, 1, priority, 0, 0.0)


def taken(backlog: Backlog) -> list[Claim]:
    return [m.claim for _ in range(backlog.waiting) if (m := backlog.take()) is not None]


@given(st.lists(st.integers(-3, 3)))
def test_the_best_priority_leaves_first_and_equals_in_order_of_arrival(priorities: list[int]) -> None:
    backlog, claims = Backlog(), [claim(priority) for priority in priorities]
    backlog.put(claims)
    assert taken(backlog) == sorted(claims, key=lambda c: c.priority)


def test_withdrawn_claims_are_handed_to_nobody() -> None:
    backlog, claims = Backlog(), [claim() for _ in range(5)]
    backlog.put(claims)
    assert backlog.withdraw(older_than_s=60) == []
    assert backlog.withdraw(ids=frozenset({claims[1].message_id})) == [claims[1]]
    assert taken(backlog) == [claims[0], *claims[2:]]
    assert backlog.withdraw() == []


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans())))
def test_what_is_left_after_a_withdrawal_keeps_its_order(arrivals: list[tuple[int, bool]]) -> None:
    backlog, claims = Backlog(), [claim(priority) for priority, _ in arrivals]
    backlog.put(claims)
    named = [one for one, (_, is_named) in zip(claims, arrivals, strict=True) if is_named]
    withdrawn = backlog.withdraw(ids=frozenset(one.message_id for one in named))
    assert sorted(map(id, withdrawn)) == sorted(map(id, named))
    left = [one for one in claims if all(one is not other for other in named)]
    backlog.put(late := [claim(-1)])
    assert taken(backlog) == sorted([*left, *late], key=lambda c: c.priority)
    assert backlog.waiting == 0


def test_a_suspect_is_held_from_its_arrival_until_it_is_settled_or_withdrawn() -> None:
    backlog, suspect = Backlog(), claim(deliveries=1)
    backlog.put([claim(), suspect])
    assert backlog.holds_suspect
    backlog.withdraw(ids=frozenset({suspect.message_id}))
    assert not backlog.holds_suspect
    backlog.put([suspect])
    for one in taken(backlog):
        assert backlog.holds_suspect
        backlog.done(one)
    assert not backlog.holds_suspect
    assert backlog.running == 0


def test_closing_wakes_every_thread_and_returns_what_was_never_started() -> None:
    backlog, got = Backlog(), list[Any]()
    threads = [threading.Thread(target=lambda: got.append(backlog.take())) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: backlog.idle == 4)
    assert backlog.close() == []
    for thread in threads:
        thread.join(5)
    assert got == [None] * 4
    late = claim()
    assert backlog.put([late]) == [late]  # for the exchange to give back
    assert backlog.take() is None


def test_many_threads_take_each_claim_exactly_once() -> None:
    backlog, got = Backlog(), list[str]()

    def work() -> None:
        while (message := backlog.take()) is not None:
            got.append(message.message_id)
            backlog.done(message.claim)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    claims = [claim(number % 3) for number in range(2000)]
    for start in range(0, 2000, 50):
        backlog.put(claims[start : start + 50])
    eventually(lambda: len(got) == 2000)
    backlog.close()
    for thread in threads:
        thread.join(5)
    assert sorted(got) == sorted(c.message_id for c in claims)
    assert (backlog.running, backlog.waiting, backlog.idle) == (0, 0, 0)
