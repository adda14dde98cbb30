"""Laws of what operators ask and do, and of waiting."""

from __future__ import annotations

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.lifecycle import State
from django_cfg.testing.contracts.tools import (
    QUEUE,
    Client,
    message,
    needs,
    released,
    retry,
    stats,
    waiting,
)


class OperatingLaws:
    """Laws of what operators ask and do, and of waiting."""

    def test_counts_say_where_every_message_stands(self, broker: EngineBroker) -> None:
        needs(broker.counts_exactly, "it counts what is ready, dead, and due in more than a while")
        broker.enqueue_many([message() for _ in range(3)])
        broker.enqueue(message(), delay=60_000)
        client = Client(broker)
        first, second = client.claim(count=2)
        client.exchange(retry(second, 60_000), count=0)
        found = stats(broker)
        assert (found.pending, found.scheduled, found.running, found.retrying, found.dead) == (1, 1, 1, 1, 0)
        assert found.oldest_pending_age_s is not None
        assert first.fence == 1

    def test_a_paused_queue_gives_nothing_until_it_is_resumed(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        broker.pause(QUEUE)
        answer = client.exchange()
        assert not answer.claims
        assert answer.paused == broker.paused_queues() == {QUEUE}
        broker.resume(QUEUE)
        assert broker.paused_queues() == frozenset()
        assert len(client.claim()) == 1

    def test_a_cancelled_message_never_runs(self, broker: EngineBroker) -> None:
        waiting, delayed = broker.enqueue(message()), broker.enqueue(message(), delay=60_000)
        assert broker.cancel(waiting.message_id)
        assert broker.cancel(delayed.message_id)
        assert not broker.supports_find or not broker.cancel("unknown")
        assert Client(broker).claim() == []

    def test_cancelling_a_claimed_message_revokes_it_and_lets_it_go(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        client = Client(broker)
        (claim,) = client.claim()
        assert not broker.supports_find or not broker.cancel(sent.message_id)
        broker.cancel(sent.message_id)
        assert client.exchange(count=0).revoked == {sent.message_id}
        client.exchange(released(claim), count=0)
        assert not broker.supports_find or not broker.holds(sent.message_id)
        assert Client(broker).claim() == []

    def test_peeking_shows_what_runs_next_and_claims_nothing(self, broker: EngineBroker) -> None:
        needs(broker.supports_peek, "it shows no message without delivering it")
        sent = broker.enqueue_many([message("work", n) for n in range(3)])
        assert [m.message_id for m in broker.peek(QUEUE, 2)] == [m.message_id for m in sent[:2]]
        assert stats(broker).pending == 3

    def test_the_store_gives_a_sign_of_life(self, broker: EngineBroker) -> None:
        broker.ping()
        assert isinstance(broker.server_warnings(), list)

    def test_the_whereabouts_of_a_message_say_its_state(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it finds no message by its id")
        delayed = broker.enqueue(message("later"), delay=60_000)
        waiting, failed = broker.enqueue_many([message(), message()])
        client = Client(broker)
        _, second = client.claim(count=2)
        client.exchange(retry(second, 60_000), count=0)
        found = [broker.whereabouts(one.message_id) for one in (delayed, waiting, failed)]
        states = [where.state for where in found if where is not None]
        assert states == [State.SCHEDULED, State.RUNNING, State.RETRYING]
        assert broker.whereabouts("unknown") is None
        later = found[0]
        assert later is not None
        assert (later.task, later.queue, later.session) == ("later", QUEUE, None)
        assert 50 < later.due_in_s <= 60
        assert later.age_s < 50

    def test_what_results_find_is_what_operators_see(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it finds no message by its id")
        delayed = broker.enqueue(message("later"), delay=60_000)
        running, failed, waiting = broker.enqueue_many([message() for _ in range(3)])
        client = Client(broker)
        _, second = client.claim(count=2)
        client.exchange(retry(second, 60_000), count=0)
        for sent in (delayed, running, failed, waiting):
            found, where = broker.find(sent.message_id), broker.whereabouts(sent.message_id)
            assert found is not None and where is not None
            assert (found.message.message_id, found.message.actor_name) == (sent.message_id, where.task)
            assert (found.state, found.deliveries) == (where.state, where.deliveries)
            assert (found.claimed_at_ms is None) == (found.worker == "") == (where.state is not State.RUNNING)
            if where.session is not None:
                assert found.worker == f"{where.session.process.host}:{where.session.process.pid}"
        assert broker.find("unknown") is None

    def test_the_whereabouts_of_a_claimed_message_name_its_worker(self, broker: EngineBroker) -> None:
        needs(broker.supports_find, "it finds no message by its id")
        sent = broker.enqueue(message())
        pending = broker.whereabouts(sent.message_id)
        assert pending is not None
        assert (pending.state, pending.session) == (State.PENDING, None)
        Client(broker).claim()
        claimed = broker.whereabouts(sent.message_id)
        assert claimed is not None
        if claimed.session is not None:  # where the store itself knows which worker lives, nobody else does
            assert (claimed.session.process.pid, claimed.session.held) == (identity().pid, 1)
            assert claimed.session.lease_left_s > 0
            assert [session.process.pid for session in broker.sessions()] == [identity().pid]

    def test_a_waiting_worker_is_woken_by_an_enqueue(self, broker: EngineBroker) -> None:
        with waiting(broker) as returned:
            assert not returned.wait(0.2)
            broker.enqueue(message())
            assert returned.wait(5)

    def test_a_waiting_worker_is_woken_when_a_message_becomes_due(self, broker: EngineBroker) -> None:
        broker.enqueue(message(), delay=300)
        with waiting(broker) as returned:
            assert returned.wait(5)
