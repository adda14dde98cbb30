"""Messages of tasks that this worker does not know: a new release may be on its way, so they wait a while."""

from __future__ import annotations

import time

from django_cfg.tasks.brokers.contract import Claim, Failure, Outcome
from django_cfg.tasks.brokers.endings import ended_badly
from django_cfg.tasks.lifecycle import Kind

GRACE_MS = 300_000
PAUSE_MS = 5_000


def unknown_task(claim: Claim) -> Outcome:
    """Back to the queue for five seconds, for five minutes in all; then among the dead letters."""
    message = claim.message
    now = round(time.time() * 1000)
    since = message.options.get("unknown_since")
    if not isinstance(since, int):  # none yet, or not written by us
        since = now
    if now - since >= GRACE_MS:
        text = f"no task is named {message.actor_name!r} in this project"
        failure = Failure("ActorNotFound", text)
        return Outcome(
            claim,
            Kind.DEAD,
            message,
            failure=failure,
            result=ended_badly(text),
            reason="unknown task",
            started=False,
        )
    later = message.copy(options={"unknown_since": since})
    return Outcome(claim, Kind.RETRY, later, delay_ms=PAUSE_MS, reason="unknown task", started=False)
