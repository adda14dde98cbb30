"""Any order of sends, claims, ends, crashes and operator's actions: each broker does what a small model does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import Claim, DeadFilter, Outcome
from django_cfg.tasks.brokers.process import identity
from django_cfg.testing.contracts import Client, dead, dead_process, done, ids, message, released, retry, stats

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
#: 1 fits a laptop, a nightly run may take 20.
SCALE = int(os.environ.get("PROCESS_TEST_SCALE", "1"))
BROKERS = [
    "stub_broker",
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("mariadb_broker", marks=pytest.mark.mariadb),
    pytest.param("redis_broker", marks=pytest.mark.redis),
]
HOUR_MS = 3_600_000
SOON_MS = 10
EVERYTHING = DeadFilter(everything=True)
numbers = st.integers(0, 20)
ended = cache(dead_process)  # starting and ending one takes longer than all the rest of a run


class Machine(RuleBasedStateMachine):
    """The model: where each message is. Two workers live, and two have died without the broker knowing it."""

    broker: EngineBroker

    def __init__(self) -> None:
        super().__init__()
        self.broker.flush_all()
        self.deliveries: dict[str, int] = {}
        self.ready: set[str] = set()
        self.scheduled: set[str] = set()
        self.retrying: set[str] = set()
        self.dead: set[str] = set()
        self.held: dict[Client, dict[str, Claim]] = {}
        self.messages: dict[str, Any] = {}
        self.lost: list[tuple[Client, Claim]] = []
        for who in (identity(), identity()):
            self.held[Client(self.broker, who)] = {}
        self.doomed: list[Client] = []

    # -- producers -------------------------------------------------------------------------------------

    def _accept(self, where: set[str], delay: int | None = None) -> None:
        sent = self.broker.enqueue(message("work", len(self.messages)), delay=delay)
        self.messages[sent.message_id] = sent
        self.deliveries[sent.message_id] = 0
        where.add(sent.message_id)

    @rule()
    def send(self) -> None:
        self._accept(self.ready)

    @rule()
    def send_for_later(self) -> None:
        self._accept(self.scheduled, HOUR_MS)

    @rule(number=numbers)
    def send_a_living_one_again(self, number: int) -> None:
        living = sorted(self.ready | self.scheduled | self.retrying | self._running())
        if living:
            self.broker.enqueue(self.messages[living[number % len(living)]])

    # -- workers ---------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.held) < 4)
    @rule()
    def a_worker_begins_that_will_die(self) -> None:
        client = Client(self.broker, ended())
        self.held[client] = {}
        self.doomed.append(client)

    @rule(number=numbers, count=st.integers(0, 4))
    def claim(self, number: int, count: int) -> None:
        client = self._client(number)
        suspects = {i for i in self.ready if self.deliveries[i]}
        has_one = any(self.deliveries[i] for i in self.held[client])
        claims = client.claim(count=count, suspect=not has_one)
        found = set(ids(claims))
        assert len(found) == len(claims) == min(count, len(self.ready - suspects) + (not has_one and bool(suspects)))
        assert found <= self.ready
        assert len(found & suspects) <= (not has_one)
        assert {c.message_id: c.deliveries for c in claims} == {i: self.deliveries[i] for i in found}
        self.ready -= found
        self.held[client] |= {c.message_id: c for c in claims}

    @rule(number=numbers)
    def ask_again_after_a_lost_answer(self, number: int) -> None:
        client = self._client(number)
        if client.seq:
            assert set(ids(client.repeat().claims)) <= set(self.held[client])

    def _settle(self, number: int, how: Callable[[Claim], Outcome], where: set[str] | None) -> None:
        client = self._client(number)
        if not self.held[client]:
            return
        held = sorted(self.held[client])
        claim = self.held[client].pop(held[number % len(held)])
        assert client.exchange(how(claim), count=0).refused == set()
        if where is not None:
            where.add(claim.message_id)

    @rule(number=numbers)
    def finish(self, number: int) -> None:
        self._settle(number, done, None)

    @rule(number=numbers)
    def fail_for_good(self, number: int) -> None:
        self._settle(number, dead, self.dead)

    @rule(number=numbers)
    def fail_and_wait(self, number: int) -> None:
        self._settle(number, lambda claim: retry(claim, HOUR_MS), self.retrying)

    @rule(number=numbers)
    def give_back(self, number: int) -> None:
        self._settle(number, released, self.ready)

    @rule()
    def sweep(self) -> None:
        """The dead workers are found: what they held was started, and counts."""
        self.broker.sweep(identity())
        for client in self.doomed:
            for message_id, claim in self.held.pop(client).items():
                self.deliveries[message_id] += 1
                is_over = self.deliveries[message_id] >= self.broker.settings.max_deliveries
                (self.dead if is_over else self.ready).add(message_id)
                self.lost.append((client, claim))
        self.doomed.clear()

    @rule(number=numbers)
    def tick(self, number: int) -> None:
        """Time passes until a worker looks: what was due soon and what failed a moment ago can run, nothing else."""
        self._accept(self.ready, SOON_MS)
        self._settle(number, lambda claim: retry(claim, SOON_MS), self.ready)
        time.sleep(2 * SOON_MS / 1000)
        self.claim(number, 1)

    @precondition(lambda self: self.lost)
    @rule(number=numbers)
    def a_dead_worker_speaks(self, number: int) -> None:
        client, claim = self.lost[number % len(self.lost)]
        with pytest.raises(SessionLost):
            client.exchange(done(claim), count=0)

    # -- operators -------------------------------------------------------------------------------------

    @rule()
    def retry_the_dead(self) -> None:
        assert self.broker.retry_dead(EVERYTHING) == len(self.dead)
        self.deliveries |= dict.fromkeys(self.dead, 0)
        self.ready |= self.dead
        self.dead.clear()

    @rule()
    def clear_the_dead(self) -> None:
        assert self.broker.clear_dead(EVERYTHING) == len(self.dead)
        self.dead.clear()

    @rule(number=numbers)
    def cancel_a_waiting_one(self, number: int) -> None:
        waiting = sorted(self.ready | self.scheduled | self.retrying)
        if waiting:
            message_id = waiting[number % len(waiting)]
            assert self.broker.cancel(message_id)
            for place in (self.ready, self.scheduled, self.retrying):
                place.discard(message_id)

    @rule()
    def cancel_an_unknown_one(self) -> None:
        assert not self.broker.cancel("nobody")

    # -- what holds always -----------------------------------------------------------------------------

    def _client(self, number: int) -> Client:
        return list(self.held)[number % len(self.held)]

    def _running(self) -> set[str]:
        return {message_id for claims in self.held.values() for message_id in claims}

    @invariant()
    def every_message_is_where_the_model_has_it(self) -> None:
        found = stats(self.broker)
        counts = (found.pending, found.scheduled, found.retrying, found.running, found.dead)
        places = (self.ready, self.scheduled, self.retrying, self._running(), self.dead)
        assert counts == tuple(map(len, places))
        assert {m.message_id for m in self.broker.peek("default", 100)} == self.ready
        assert {letter.message_id for letter in self.broker.dead_letters(EVERYTHING)} == self.dead

    def teardown(self) -> None:
        for client in self.held:
            self.broker.close_session(client.session)


@pytest.mark.parametrize("name", BROKERS)
def test_a_broker_does_what_the_model_does(name: str, request: pytest.FixtureRequest) -> None:
    class Bound(Machine):
        broker = request.getfixturevalue(name)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Bound,
        settings=settings(
            max_examples=8 * SCALE,
            stateful_step_count=30,
            deadline=None,
            derandomize=SCALE == 1,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
