"""The age limit, by the broker's clock: two hosts with different clocks agree about it."""

from __future__ import annotations

import time
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import AgeLimit, SkipMessage


class EngineAgeLimit(AgeLimit):
    """Sends messages that waited longer than `max_age` milliseconds to the dead letters; None: no limit."""

    def before_process_message(self, broker: Broker, message: Any) -> None:
        actor = broker.get_actor(message.actor_name)
        limit = message.options.get("max_age", actor.options.get("max_age", self.max_age))
        if limit is None:
            return
        claim = message.claim
        age_ms = claim.age_ms + (time.monotonic() - claim.received_at) * 1000
        if age_ms >= limit:
            self.logger.warning("Message %s has exceeded its age limit.", message.message_id)
            message.fail()
            raise SkipMessage(f"age {age_ms:.0f} ms is above max_age {limit} ms")
