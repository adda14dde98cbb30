"""Listeners hear of what they ask for, and none of them harms another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from django_cfg.tasks.events import BulkEvent


def made(facts: Sequence[int], event: BulkEvent[int, str]) -> list[int]:
    """For which facts a payload was made, when all are told of."""
    asked: list[int] = []

    def payload(fact: int) -> str:
        asked.append(fact)
        return str(fact)

    event.emit_all(facts, payload)
    return asked


def test_a_payload_is_made_once_and_only_for_facts_that_a_listener_asks_for() -> None:
    event: BulkEvent[int, str] = BulkEvent("numbers")
    assert made([1, 2, 3], event) == []
    large: list[str] = []
    event.subscribe(large.append, lambda facts: [fact for fact in facts if fact > 1000])
    assert made([1, 2000, 3, 4000], event) == [2000, 4000]
    every: list[str] = []
    event.subscribe(every.append)
    assert sorted(made([1, 2000], event)) == [1, 2000]
    assert (large, every) == (["2000", "4000", "2000"], ["1", "2000"])


def test_a_single_fact_reaches_all_whatever_their_sieves_say() -> None:
    event: BulkEvent[int, str] = BulkEvent("numbers")
    seen: list[str] = []
    event.subscribe(seen.append, lambda facts: ())
    event.emit("1")
    assert seen == ["1"]


def test_a_sieve_that_fails_lets_everything_through(caplog: pytest.LogCaptureFixture) -> None:
    event: BulkEvent[int, str] = BulkEvent("numbers")
    seen: list[str] = []

    def broken(facts: Sequence[int]) -> Sequence[int]:
        raise ValueError("broken")

    event.subscribe(seen.append, broken)
    made([1, 2], event)
    assert seen == ["1", "2"]
    assert "A sieve of numbers failed." in caplog.text


def test_who_has_stopped_hears_nothing_more() -> None:
    event: BulkEvent[int, str] = BulkEvent("numbers")
    seen: list[str] = []
    stop = event.subscribe(seen.append, lambda facts: facts)
    stop()
    assert made([1], event) == []
    again = event.subscribe(seen.append)
    made([2], event)
    assert seen == ["2"]
    again()
