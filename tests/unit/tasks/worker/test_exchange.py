"""The exchange thread, through lost sessions and work that is not for it."""

from __future__ import annotations

import threading
from typing import Any

import dramatiq
import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import Answer
from django_cfg.tasks.events import outcome_refused
from django_cfg.testing.contracts import settled_events, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_claim_taken_anew_after_a_lost_session_survives_the_late_outcome_of_the_first_run(
    stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    started, gates, refused = list[int](), [threading.Event(), threading.Event()], list[str]()

    @dramatiq.actor
    def work() -> None:
        number = len(started)
        started.append(number)
        gates[number].wait(10)

    stop = outcome_refused.subscribe(lambda event: refused.append(event.message_id))
    message = work.send()
    with settled_events() as settled, working(stub, threads=2) as worker:
        eventually(lambda: started == [0])
        stub._sessions[worker.exchange._session.id].lease_until = 0  # as after a long pause of the process
        stub.sweep(next(iter(stub._sessions.values())).identity)
        eventually(lambda: started == [0, 1])
        gates[0].set()
        eventually(lambda: len(refused) == 2)  # once for the claim, once for what it ended with
        assert [c.message_id for c in worker.exchange.unsettled()] == [message.message_id]
        gates[1].set()
        eventually(lambda: len(settled) == 1)
    stop()
    assert started == [0, 1]


def test_a_suspect_that_waits_for_another_does_not_make_the_exchange_spin(stub: Any) -> None:
    gate, began = threading.Event(), threading.Event()

    @dramatiq.actor
    def work() -> None:
        began.set()
        gate.wait(10)

    for _ in range(2):
        work.send()
    for entry in stub._live.values():
        entry.deliveries = 1
    exchanges = _counted(stub)
    with working(stub, threads=2):
        assert began.wait(5)
        before = len(exchanges)
        threading.Event().wait(0.5)
        assert len(exchanges) - before <= 10
        gate.set()
        eventually(lambda: not stub._live)


def _counted(broker: EngineBroker) -> list[Answer]:
    answers: list[Answer] = []
    inner = broker.exchange

    def exchange(*args: Any) -> Answer:
        answers.append(inner(*args))
        return answers[-1]

    broker.exchange = exchange  # type: ignore[method-assign]
    return answers
