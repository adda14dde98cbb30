"""The age limit, by the broker's clock: two hosts with different clocks agree about it."""

from __future__ import annotations

import time
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import AgeLimit, SkipMessage

#: In the message of a Django task that has run before: it may expire until its start, and no retry does.
STARTED = "attempts"


class EngineAgeLimit(AgeLimit):
    """Sends messages that waited longer than `max_age` milliseconds to the dead letters; None: no limit."""

    def before_process_message(self, broker: Broker, message: Any) -> None:
        actor, options = broker.get_actor(message.actor_name), message.options
        has_own = "max_age" in options and STARTED not in options
        limit = options["max_age"] if has_own else actor.options.get("max_age", self.max_age)
        if limit is None:
            return
        claim = message.claim
        age_ms = claim.age_ms + (time.monotonic() - claim.received_at) * 1000
        if age_ms >= limit:
            self.logger.warning("Message %s has exceeded its age limit.", message.message_id)
            message.fail()
            raise SkipMessage(f"age {age_ms:.0f} ms is above max_age {limit} ms")
