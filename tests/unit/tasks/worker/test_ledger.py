"""What a process notes about its claims can be read after its death, whatever moment it died at."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import fields, replace
from typing import Any

import pytest
from dramatiq import Message

from django_cfg.tasks.brokers.contract import Claim, Failure, FollowUp, Outcome, ResultEntry
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.worker.leases import outcome_of
from django_cfg.tasks.worker.ledger import HEAD_BYTES, ROOM_BYTES, SLOTS, At, Ledger, Ledgers, Use
from django_cfg.tasks.worker.packed import pack, unpack

CLAIM = Claim(
    Message("mail", "send", (1, "ü"), {"to": None}, {"retries": 2}, "id-1", 5),
    fence=7,
    deliveries=1,
    generation=3,
    priority=0,
    enqueued_at_ms=12,
    waited_ms=0.0,
)


def claim(number: int = 1, **options: Any) -> Claim:
    message = Message("mail", "send", (), {}, options, f"id-{number}", 5)
    return Claim(message, 7, 1, 3, 0, 12, 0.0)


@pytest.fixture
def ledgers() -> Ledgers:
    made = Ledgers()
    made.grow(2)
    return made


@pytest.fixture
def ledger(ledgers: Ledgers) -> Ledger:
    return Ledger(ledgers.take()[0], ledgers.guardian)


def test_a_claim_is_read_as_it_was_noted(ledger: Ledger) -> None:
    ledger.claimed(CLAIM)
    (entry,) = ledger.bank.entries()
    assert (entry.at, entry.message_id, entry.queue, entry.task) == (At.CLAIMED, "id-1", "mail", "send")
    assert (entry.fence, entry.generation, entry.enqueued_at_ms) == (7, 3, 12)
    assert (entry.deliveries, entry.retries) == (1, 2)


def test_each_step_of_a_claim_is_seen(ledger: Ledger) -> None:
    noted = claim()
    ledger.claimed(noted)
    ledger.started(noted, 60.0)
    assert [e.at for e in ledger.bank.entries()] == [At.STARTED]
    assert ledger.ended(Outcome(noted, Kind.DONE, noted.message, run_ms=4.0))
    (entry,) = ledger.bank.entries()
    assert (entry.at, entry.span) == (At.DONE, 4.0)
    ledger.settled(noted)
    assert list(ledger.bank.entries()) == []
    assert ledger.room == SLOTS


def test_a_run_that_goes_on_for_a_newer_claim_is_read_under_its_fence(ledger: Ledger) -> None:
    running, newer = replace(CLAIM), replace(CLAIM, fence=CLAIM.fence + 2)
    ledger.claimed(running)
    ledger.started(running, 60.0)
    ledger.goes_on(running, newer)
    (entry,) = ledger.bank.entries()
    assert (entry.at, entry.fence, entry.message_id) == (At.STARTED, newer.fence, CLAIM.message_id)
    ledger.settled(running)
    assert not list(ledger.bank.entries())


def test_an_outcome_comes_back_as_it_went_in(ledger: Ledger) -> None:
    follow_up = FollowUp(Message("q", "next", (1,), {"a": [2]}, {}, "id-2", 6), 30)
    outcome = Outcome(
        CLAIM,
        Kind.RETRY,
        CLAIM.message.copy(options={"retries": 3}),
        delay_ms=100,
        follow_ups=(follow_up,),
        result=ResultEntry({"x": [1, None]}, 1000),
        failure=Failure("ValueError", "bad", "Traceback ...", "f1", "work:fails"),
        reason="why",
        wait_ms=1.5,
        run_ms=2.5,
        retries_before=2,
    )
    assert all(getattr(outcome, f.name) != f.default for f in fields(Outcome) if f.name != "started")
    assert unpack(CLAIM, pack(outcome)) == outcome
    ledger.claimed(CLAIM)
    ledger.started(CLAIM, 60.0)
    assert ledger.ended(outcome)
    (entry,) = ledger.bank.entries()
    assert replace(outcome_of(entry), claim=CLAIM) == outcome


@pytest.mark.parametrize("value", [None, 1, "ü", {"x": [1, None]}])
def test_a_value_that_a_task_returned_comes_back_as_it_went_in(ledger: Ledger, value: Any) -> None:
    result = ResultEntry(value, 1000)
    outcome = Outcome(
        CLAIM,
        Kind.DONE,
        CLAIM.message,
        result=result,
        wait_ms=1.5,
        run_ms=2.5,
        retries_before=CLAIM.message.options["retries"],
    )
    ledger.claimed(CLAIM)
    ledger.started(CLAIM, 60.0)
    assert ledger.ended(outcome)
    (entry,) = ledger.bank.entries()
    assert entry.at is At.RETURNED
    found = outcome_of(entry)
    assert replace(found, claim=CLAIM, message=CLAIM.message) == outcome
    assert found.result is not None
    assert (found.result.value, found.result.ttl_ms) == (value, 1000)


@pytest.mark.parametrize("size", [0, HEAD_BYTES // 4, HEAD_BYTES, 3 * HEAD_BYTES])
@pytest.mark.parametrize("length", [1, HEAD_BYTES // 2, HEAD_BYTES - 60, HEAD_BYTES, 3 * HEAD_BYTES])
def test_names_and_outcomes_of_any_length_come_back_in_every_slot(ledger: Ledger, length: int, size: int) -> None:
    name = "n" * length
    claims = [replace(CLAIM, message=Message("mail", name, (), {}, {}, f"id-{i}", 5)) for i in range(SLOTS)]
    for one in claims:
        ledger.claimed(one)
        assert ledger.ended(Outcome(one, Kind.DONE, one.message, result=ResultEntry(one.message_id + "r" * size, 1000)))
    assert ledger.room == 0
    found = {entry.message_id: entry for entry in ledger.bank.entries()}
    assert found.keys() == {one.message_id for one in claims}
    for message_id, entry in found.items():
        result = outcome_of(entry).result
        assert (entry.task, entry.queue, result and result.value) == (name, "mail", message_id + "r" * size)


def test_names_that_no_room_can_hold_are_left_out_and_harm_no_other_slot(ledger: Ledger) -> None:
    endless = replace(CLAIM, message=Message("mail", "n" * ROOM_BYTES, (), {}, {}, "id-0", 5))
    ledger.claimed(endless)
    ledger.claimed(CLAIM)
    ledger.started(endless, 60.0)
    assert ledger.ended(Outcome(endless, Kind.DONE, endless.message))
    ledger.settled(endless)
    assert [entry.message_id for entry in ledger.bank.entries()] == ["id-1"]
    assert ledger.room == SLOTS - 1


def test_an_outcome_that_is_too_large_is_not_kept_and_its_run_stays_started(ledger: Ledger) -> None:
    noted = claim()
    ledger.claimed(noted)
    ledger.started(noted, 60.0)
    large = Outcome(noted, Kind.DONE, noted.message, result=ResultEntry("x" * ROOM_BYTES, 1000))
    assert not ledger.ended(large)
    assert [e.at for e in ledger.bank.entries()] == [At.STARTED]
    assert ledger.bank.overdue(float("inf")) == []  # and its process is not killed for waiting


def test_a_task_past_its_limit_is_overdue_until_it_ends(ledger: Ledger) -> None:
    noted = claim()
    ledger.claimed(noted)
    ledger.started(noted, -1.0)
    now = time.monotonic()
    assert len(ledger.bank.overdue(now)) == 1
    ledger.ended(Outcome(noted, Kind.DONE, noted.message))
    assert ledger.bank.overdue(now) == []


def test_what_was_interrupted_goes_back_uncounted(ledger: Ledger) -> None:
    noted = claim()
    ledger.claimed(noted)
    ledger.started(noted, 60.0)
    ledger.ended(Outcome(noted, Kind.RELEASED, noted.message, reason="interrupted"))
    assert [e.at for e in ledger.bank.entries()] == [At.CLAIMED]


def test_a_message_that_somebody_else_wrote_is_noted_too(ledger: Ledger) -> None:
    for number, retries in enumerate(("many", -1, 10**9, None)):
        ledger.claimed(claim(number, retries=retries))
    assert [e.retries for e in ledger.bank.entries()] == [0, 0, 0, 0]


def test_what_a_killed_process_noted_is_read_by_its_parent(ledgers: Ledgers) -> None:
    bank, _ = ledgers.take()
    pid = os.fork()
    if pid == 0:
        Ledger(bank, ledgers.guardian).claimed(CLAIM)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert [e.message_id for e in bank.entries()] == ["id-1"]


def test_a_bank_is_used_again_when_it_is_settled_and_forgotten_only_in_need(ledgers: Ledgers) -> None:
    first, _ = ledgers.take()
    second, _ = ledgers.take()
    first.session = second.session = 1
    first.died(-9)
    second.died(-9)
    second.free()
    assert ledgers.take() == (second, False)
    assert ledgers.take() == (first, True)
    assert first.use is Use.LIVING


def test_the_bank_of_a_process_that_closed_its_session_needs_no_keeper(ledgers: Ledgers) -> None:
    bank, _ = ledgers.take()
    bank.session = 1
    bank.session = 0
    bank.died(0)
    assert bank.use is Use.FREE
