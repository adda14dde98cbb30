"""A worker without threads: runs what is ready in the caller's own, and returns. For tests and shells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage, Outcome, Session, Want
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.events import task_settled
from django_cfg.tasks.middleware.connections import left_open
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.tasks.worker.exchange import settled
from django_cfg.tasks.worker.ledger import NoLedger
from django_cfg.tasks.worker.threads import EngineThread
from django_cfg.tasks.worker.unknown import unknown_task


class InlineWorker:
    """Claims, runs and settles one message after the other."""

    def __init__(self, broker: EngineBroker) -> None:
        self._broker = broker
        stand_in: Any = self  # a thread asks its exchange for what stands at the end, no more
        self._thread = EngineThread(broker, Backlog(), stand_in)
        self._outcomes: list[Outcome] = []
        self._seq = 0

    def run(self, queues: Sequence[str], limit: int | None = None) -> int:
        """Run until nothing of the queues is ready, or until the limit; returns how many runs there were."""
        session = self._broker.open_session(identity())
        try:
            with left_open():
                return self._run(session, tuple(queues), limit)
        finally:
            self._exchange(session, (), 0)
            self._broker.close_session(session)

    def _run(self, session: Session, queues: tuple[str, ...], limit: int | None) -> int:
        runs = 0
        while True:
            claims = self._exchange(session, queues, 0 if runs == limit else 1)
            if not claims and not self._outcomes:
                return runs
            for claim in claims:
                runs += self._process(claim)
            self._let_through()

    def _exchange(self, session: Session, queues: tuple[str, ...], count: int) -> tuple[Claim, ...]:
        outcomes, self._outcomes = self._outcomes, []
        self._seq += 1
        answer = self._broker.exchange(session, self._seq, outcomes, Want(count, queues))
        task_settled.emit_all([o for o in outcomes if o.claim.message_id not in answer.refused], settled)
        return answer.claims

    def _process(self, claim: Claim) -> int:
        if claim.message.actor_name not in self._broker.actors:
            self._outcomes.append(unknown_task(claim))
            return 0
        self._thread.process_message(ClaimedMessage(claim))
        return 1

    def _let_through(self) -> None:
        """A Ctrl-C is meant for whoever runs this, whatever it interrupted."""
        if any(o.failure is not None and o.failure.type == KeyboardInterrupt.__name__ for o in self._outcomes):
            raise KeyboardInterrupt

    # -- what a thread asks of its exchange ------------------------------------------------------------

    def put(self, outcome: Any) -> None:
        self._outcomes.append(outcome)

    def may_start(self) -> bool:
        return True

    ledger = NoLedger()
