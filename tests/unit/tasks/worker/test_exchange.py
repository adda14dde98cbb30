"""The exchange thread, through lost sessions and work that is not for it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import Answer, Claim, FollowUp, Outcome
from django_cfg.tasks.events import outcome_refused
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.tasks.worker.exchange import GATHER_S, IDLE_S, STALE_CLAIM_S, ExchangeThread, released
from django_cfg.tasks.worker.ledger import Ledger, Ledgers
from django_cfg.testing.contracts import settled_events, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def short_reunion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for its end need not wait long."""
    monkeypatch.setattr("django_cfg.tasks.worker.reunion.REUNION_S", 0.5)


def lose_session(stub: Any, worker: Any) -> None:
    """As after a long pause of the process."""
    session = eventually(lambda: worker.exchange._session)  # between two of them there is none
    stub._sessions[session.id].lease_until = 0
    stub.sweep(next(iter(stub._sessions.values())).identity)


def test_a_message_that_comes_again_while_it_runs_here_starts_no_second_run(stub: Any) -> None:
    started, gate, refused = list[int](), threading.Event(), list[str]()

    @dramatiq.actor
    def work() -> None:
        started.append(1)
        gate.wait(10)

    stop = outcome_refused.subscribe(lambda event: refused.append(event.message_id))
    message = work.send()
    with settled_events() as settled, working(stub, threads=2) as worker:
        eventually(lambda: started)
        for loss in range(2):
            before = worker.exchange.unsettled()[0].fence
            lose_session(stub, worker)
            eventually(lambda before=before: [c.fence > before for c in worker.exchange.unsettled()] == [True])
            assert len(worker.exchange._reunion._origins) == 1, loss
        gate.set()
        eventually(lambda: [event.message_id for event in settled] == [message.message_id])
        reunion = worker.exchange._reunion
        assert worker.exchange.is_idle and not reunion._origins and not reunion._orphans
    stop()
    assert started == [1] and refused == [] and not stub._live


def test_what_ended_while_its_session_was_lost_is_accepted_when_its_message_comes_again(stub: Any) -> None:
    started, gate = list[int](), threading.Event()

    @dramatiq.actor
    def work() -> None:
        started.append(1)
        gate.wait(10)

    message = work.send()
    with settled_events() as settled, working(stub, threads=1) as worker:
        eventually(lambda: started)
        stub.pause("default")
        lose_session(stub, worker)
        eventually(lambda: worker.exchange._reunion._orphans)
        gate.set()
        eventually(lambda: worker.exchange._reunion._late)
        stub.resume("default")
        eventually(lambda: [event.message_id for event in settled] == [message.message_id])
    assert started == [1] and not stub._live


@pytest.mark.usefixtures("short_reunion")
def test_what_was_given_back_while_its_session_was_lost_starts_when_it_comes_again(stub: Any) -> None:
    started, gate = list[str](), threading.Event()

    @dramatiq.actor
    def work(name: str) -> None:
        started.append(name)
        gate.wait(10)

    with working(stub, threads=1) as worker:
        work.send("first")
        eventually(lambda: started)
        claim = worker.exchange.unsettled()[0]
        lose_session(stub, worker)
        eventually(lambda: worker.exchange._reunion._origins)
        stub.pause("default")
        lose_session(stub, worker)
        eventually(lambda: worker.exchange._reunion._orphans)
        worker.exchange.put(released(claim, "not started"))  # as a thread does near the end of the lease
        lose_session(stub, worker)
        eventually(lambda: not worker.exchange._reunion._orphans)
        gate.set()
        stub.resume("default")
        eventually(lambda: started == ["first", "first"])
        eventually(lambda: not stub._live)


def test_a_large_outcome_of_a_run_that_outlived_its_session_frees_its_thread(stub: Any) -> None:
    gate, threads = threading.Event(), list[int]()

    @dramatiq.actor(store_results=True)
    def work(is_gated: bool) -> str:
        threads.append(threading.get_ident())
        if is_gated:
            gate.wait(10)
        return "x" * 20_000

    ledgers = Ledgers()
    ledgers.grow(1)
    work.send(True)
    ledger = Ledger(ledgers.take()[0], ledgers.guardian)
    with settled_events() as settled, working(stub, threads=1, ledger=ledger) as worker:
        eventually(lambda: threads)
        lose_session(stub, worker)
        eventually(lambda: worker.exchange._reunion._origins)
        gate.set()
        work.send(False)
        eventually(lambda: len(settled) == 2)
    assert len(threads) == 2 and len(set(threads)) == 1
    assert not list(ledger.bank.entries())


@pytest.mark.usefixtures("short_reunion")
def test_a_new_life_of_a_message_survives_the_late_outcome_of_the_first_run(stub: Any) -> None:
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
        [entry] = stub._live.values()
        entry.body = codec.encode(entry.message.copy(options={"retries": 1}))  # it failed elsewhere meanwhile
        lose_session(stub, worker)
        eventually(lambda: started == [0, 1])
        gates[0].set()
        eventually(lambda: len(refused) == 1)
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


def test_claims_are_looked_at_again_soon_also_before_a_thread_has_woken_for_them(stub: Any) -> None:
    """A thread that was told of a claim still counts as idle until it runs. Were nobody to look before the next
    outcome, another process would stand idle meanwhile."""
    backlog = Backlog()
    exchange = ExchangeThread(stub, backlog, threads=1)
    assert exchange._patience_s() == IDLE_S
    backlog._idle = 1
    sent = dramatiq.Message("default", "work", (), {}, {})
    backlog.put([Claim(sent, 1, 0, 1, 0, 0, 0.0)])
    assert exchange._patience_s() == STALE_CLAIM_S


@pytest.mark.parametrize(("pace", "given_back"), [(1000.0, 0), (0.0, 20)])
def test_what_waits_long_is_given_back_unless_it_is_started_soon(stub: Any, pace: float, given_back: int) -> None:
    """Two thousand claims of tasks that take next to nothing wait longer than one claim should, and yet nobody else
    would be quicker with them."""
    backlog = Backlog()
    exchange = ExchangeThread(stub, backlog, threads=1)
    exchange._pace = SimpleNamespace(per_s=lambda *_: pace)  # type: ignore[assignment]
    sent = dramatiq.Message("default", "work", (), {}, {})
    backlog.put([Claim(sent, 1, 0, 1, 0, 0, 0.0) for _ in range(20)])
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + STALE_CLAIM_S)
    exchange._withdraw_stale()
    assert (len(exchange._outbox), backlog.waiting) == (given_back, 20 - given_back)


def test_outcomes_of_quick_tasks_go_out_together(stub: Any) -> None:
    @dramatiq.actor
    def work() -> None:
        time.sleep(0.001)

    for _ in range(400):
        work.send()
    exchanges = _counted(stub)
    with working(stub, threads=2):
        eventually(lambda: not stub._live)
    assert len(exchanges) < 400 / 3


def test_nothing_waits_for_company_once_threads_would_run_dry(stub: Any) -> None:
    exchange = ExchangeThread(stub, Backlog(), threads=2)
    sent = dramatiq.Message("default", "work", (), {}, {})
    claims = [Claim(sent, 1, 0, 1, 0, 0, 0.0) for _ in range(101)]
    exchange._mean_s = 2 * GATHER_S / 100  # a hundred of them last two threads for as long as one would wait
    exchange._outbox.append(released(claims[0], "not started"))
    exchange._backlog.put(claims[:99])
    assert not exchange._may_gather()
    exchange._backlog.put(claims[99:])
    assert exchange._may_gather()
    exchange.stop_claiming()
    assert not exchange._may_gather()


@pytest.mark.parametrize("is_stop", [True, False], ids=["stop", "lost session"])
def test_one_exchange_says_at_most_one_word_about_a_message(stub: Any, is_stop: bool) -> None:
    """A task may end just when it is given back; a broker that gets both at once would have to choose."""
    said = list[list[Kind]]()
    inner = stub.exchange

    def exchange(session: Any, seq: int, outcomes: list[Outcome], want: Any) -> Answer:
        said.append([outcome.kind for outcome in outcomes])
        answer: Answer = inner(session, seq, outcomes, want)
        return answer

    stub.exchange = exchange
    backlog = Backlog()
    thread = ExchangeThread(stub, backlog, threads=1)
    thread.queues.append("default")
    stub.enqueue(dramatiq.Message("default", "work", (), {}, {}))
    for name in ("work", "next"):
        dramatiq.actor(lambda: None, actor_name=name)
    if not is_stop:
        thread._start_over(SessionLost("gone"))
    thread._turn()
    claim = thread.unsettled()[0]
    assert backlog.withdraw() == [claim]
    if is_stop:
        thread.stop_claiming()
    following = FollowUp(dramatiq.Message("default", "next", (), {}, {}))
    thread.put(Outcome(claim, Kind.DONE, claim.message, follow_ups=(following,)))
    thread.put(released(claim, "interrupted", started=True))
    thread._turn()
    thread._turn()
    assert [kinds for kinds in said if kinds] == [[Kind.DONE], [Kind.RELEASED]]
    assert [entry.message.actor_name for entry in stub._live.values()] == ["next"]
