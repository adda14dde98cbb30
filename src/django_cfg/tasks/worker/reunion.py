"""Runs that outlive the session that claimed them.

When a session is lost its messages go back to the queue while threads here still run some of them. One of these may be
claimed here again: then its run is the new claim's, and no second one starts. Until that is known, how such runs end
waits here; sent at once, it would be refused.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from django_cfg.tasks.brokers.contract import Claim, Outcome

#: How long after a new session began what runs or ran here is looked out for.
REUNION_S = 5.0


class Reunion:
    """Which runs belong to no claim of this session, and which to another claim than they began under."""

    def __init__(self) -> None:
        #: By message: under which claim of a lost session a thread runs it.
        self._orphans: dict[str, Claim] = {}
        #: By message: under which claim the run of a claim of this session began.
        self._origins: dict[str, Claim] = {}
        self._late: list[Outcome] = []
        self._until = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no outcome waits here."""
        return not self._late

    @property
    def hoped_for(self) -> int:
        """How many messages may come here again."""
        return len(self._orphans) if self._orphans and time.monotonic() < self._until else 0

    @property
    def expects(self) -> bool:
        """Whether a thread runs something that belongs to no claim of this session."""
        return bool(self._orphans)

    # -- sessions ----------------------------------------------------------------------------------------

    def lost(self, running: Mapping[str, Claim]) -> None:
        """The session of these claims has ended; threads go on with them."""
        for message_id, claim in running.items():
            self._orphans[message_id] = self._origins.get(message_id, claim)
        self._origins.clear()
        self._until = math.inf

    def opened(self) -> None:
        """A new session begins."""
        self._until = time.monotonic() + REUNION_S

    # -- claims ------------------------------------------------------------------------------------------

    def run_of(self, claim: Claim) -> Claim | None:
        """The claim under which a thread here already runs the same life of this message; it is this claim's now."""
        running = self._orphans.get(claim.message_id)
        if running is None or (running.generation, running.body) != (claim.generation, claim.body):
            return None
        self._origins[claim.message_id] = self._orphans.pop(claim.message_id)
        return running

    def take_outcomes_of(self, running: Claim) -> list[Outcome]:
        """How a run has ended meanwhile."""
        found = [outcome for outcome in self._late if outcome.claim is running]
        self._late = [outcome for outcome in self._late if outcome.claim is not running]
        return found

    def forget(self, claim: Claim) -> None:
        """No thread runs it any more: should it come again, it must start."""
        if self._orphans and self._orphans.get(claim.message_id) is claim:
            del self._orphans[claim.message_id]

    # -- outcomes ----------------------------------------------------------------------------------------

    def keep_back(self, outbox: deque[Outcome], *, is_ending: bool) -> None:
        """Move outcomes of runs without a claim from the outbox to here; all back when it has been long enough."""
        if not self._orphans and not self._late:
            return
        if is_ending or time.monotonic() >= self._until:
            outbox.extend(self._late)
            self._late.clear()
            return
        for _ in range(len(outbox)):
            outcome = outbox.popleft()
            is_orphan = self._orphans.get(outcome.claim.message_id) is outcome.claim
            (self._late if is_orphan else outbox).append(outcome)

    def by_new_claims(self, outcomes: list[Outcome], held: Mapping[str, Claim]) -> list[Outcome]:
        """Outcomes; those of runs that began under a lost session, under the claims that came since."""
        return [self._by_new_claim(outcome, held) for outcome in outcomes] if self._origins else outcomes

    def _by_new_claim(self, outcome: Outcome, held: Mapping[str, Claim]) -> Outcome:
        claim = outcome.claim
        if self._origins.get(claim.message_id) is claim:
            return replace(outcome, claim=held[claim.message_id])
        return outcome

    def take_origin(self, claim: Claim) -> Claim:
        """The claim under which the run of this one began: most often itself."""
        return self._origins.pop(claim.message_id, claim) if self._origins else claim
