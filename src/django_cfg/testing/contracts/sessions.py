"""Laws of sessions: what the broker does with the claims of processes that live, die and end."""

from __future__ import annotations

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import (
    DeadFilter,
    ProcessIdentity,
    ResultEntry,
)
from django_cfg.tasks.brokers.process import guarded, identity
from django_cfg.tasks.worker.leases import settle
from django_cfg.tasks.worker.ledger import Bank, Ledger, Ledgers, Use
from django_cfg.testing.contracts.tools import (
    Client,
    dead_process,
    done,
    ids,
    message,
    needs,
    retry,
)


def _is_of(bank: Bank, process: ProcessIdentity) -> None:
    """As the process itself and its supervisor would have noted."""
    bank.born(process.process_started)
    bank.is_of(process.pid)
    bank.died(-9)


class SessionLaws:
    """Laws of sessions: what the broker does with the claims of processes that live, die and end."""

    def test_the_claims_of_a_dead_process_run_again_as_suspects(self, broker: EngineBroker) -> None:
        sent = broker.enqueue(message())
        Client(broker, dead_process()).claim()
        assert broker.sweep(identity()) == 1
        (claim,) = Client(broker).claim()
        assert (claim.message_id, claim.deliveries, claim.is_suspect) == (sent.message_id, 1, True)

    def test_a_process_with_a_living_guardian_is_swept_by_nobody_else(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        dead = guarded(dead_process(), identity())
        Client(broker, dead).claim()
        assert broker.sweep(identity()) == 0
        assert broker.sweep(dead) == 1

    def test_a_process_whose_guardian_died_too_is_swept_by_anybody(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        Client(broker, guarded(dead_process(), dead_process())).claim()
        assert broker.sweep(identity()) == 1

    def test_what_a_dead_process_had_ended_is_settled_and_only_what_it_had_started_counts(
        self, broker: EngineBroker
    ) -> None:
        needs(broker.settles_for_the_dead, "its claims go to others with the process")
        broker.enqueue_many([message(str(n)) for n in range(4)])
        ledgers = Ledgers()
        ledgers.grow(1)
        bank, _ = ledgers.take()
        ledger = Ledger(bank, ledgers.guardian)
        dead = dead_process()
        client = Client(broker, guarded(dead, ledgers.guardian))
        ledger.opened(client.session.id)
        returned, failed, started, unstarted = client.claim()
        for claim in (returned, failed, started, unstarted):
            ledger.claimed(claim)
        for claim in (returned, failed, started):
            ledger.started(claim, 60.0)
        assert ledger.ended(done(returned, result=ResultEntry(7, 60_000)))
        assert ledger.ended(retry(failed, retries=1))
        _is_of(bank, dead)
        settle(broker, bank, ledgers)
        again = Client(broker).claim()
        assert {c.message_id: (c.deliveries, c.message.options.get("retries", 0)) for c in again} == {
            failed.message_id: (0, 1),
            started.message_id: (1, 0),
            unstarted.message_id: (0, 0),
        }
        assert broker.load_result(returned.message_id) == (True, 7)
        assert bank.use is Use.FREE

    def test_the_claims_of_a_living_process_are_not_swept(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        Client(broker).claim()
        assert broker.sweep(identity()) == 0
        assert Client(broker).claim() == []

    def test_a_message_that_keeps_killing_its_process_becomes_a_dead_letter(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        for _ in range(broker.settings.max_deliveries):
            assert len(Client(broker, dead_process()).claim()) == 1
            broker.sweep(identity())
        assert Client(broker).claim() == []
        (letter,) = broker.dead_letters(DeadFilter(everything=True))
        assert letter.reason == "its worker process died 3 times while running it"

    def test_one_suspect_at_a_time_runs_in_a_process(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message() for _ in range(3)])
        Client(broker, dead_process()).claim()
        broker.sweep(identity())
        broker.enqueue(message("innocent"))
        client = Client(broker)
        assert sorted(c.is_suspect for c in client.claim()) == [False, True]
        assert client.claim(suspect=False) == []

    def test_a_session_that_was_swept_is_lost(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker, dead_process())
        (claim,) = client.claim()
        broker.sweep(identity())
        for call in (lambda: client.exchange(done(claim)), lambda: broker.renew(client.session)):
            try:
                call()
            except SessionLost:
                continue
            raise AssertionError("a lost session went on")
        assert not broker.supports_find or broker.holds(claim.message_id)

    def test_closing_a_session_gives_its_claims_back_uncounted(self, broker: EngineBroker) -> None:
        broker.enqueue(message())
        client = Client(broker)
        client.claim()
        broker.close_session(client.session)
        (claim,) = Client(broker).claim()
        assert claim.deliveries == 0

    def test_a_renewal_tells_what_the_session_holds(self, broker: EngineBroker) -> None:
        broker.enqueue_many([message(), message()])
        client = Client(broker)
        claims = client.claim(count=1)
        assert broker.renew(client.session) == set(ids(claims))

    def test_ids_can_be_given_back_by_name(self, broker: EngineBroker) -> None:
        needs(not broker.sends_ahead, "what a worker gives back may come to it again")
        broker.enqueue_many([message(), message()])
        client = Client(broker)
        first, second = client.claim()
        broker.release(client.session, [first.message_id])
        assert ids(Client(broker).claim()) == [first.message_id]
        assert broker.renew(client.session) == {second.message_id}
