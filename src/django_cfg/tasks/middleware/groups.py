"""Completion callbacks of groups: sent once, by the member whose end completes the group.

A member arrives at its group when it succeeds. The store notes who has arrived, as a set, so that a member that runs
again counts once, and it notes who came last. Only that member sends the callbacks, as part of its outcome: when its
process dies before, it runs again, is still the last, and sends them then.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from dramatiq import Message
from dramatiq.logging import get_logger
from dramatiq.middleware.group_callbacks import GroupCallbacks
from dramatiq.rate_limits import RateLimiterBackend

from django_cfg.errors import BrokerUnreachable, ConfigurationError

logger = get_logger(__name__)
#: A store that does not answer is asked again for so long; then the member runs again.
PATIENCE_S = 20.0
PAUSE_S = 0.5


class KeepsGroups(Protocol):
    """The broker, as groups see it."""

    def open_group(self, group_id: str, size: int, ttl_ms: int) -> bool: ...
    def arrive(self, group_id: str, member_id: str) -> bool: ...
    def enqueue(self, message: Message[Any]) -> Message[Any]: ...


class Barriers(RateLimiterBackend):
    """What `group.run()` opens a group with. It limits no rates."""

    broker: KeepsGroups

    def add(self, key: str, value: int, ttl: int) -> bool:
        return self.broker.open_group(key, value, ttl)

    def _refuse(self, *args: Any) -> Any:
        raise ConfigurationError(
            "this backend keeps completion callbacks of groups only; give rate limiters a backend of "
            "dramatiq.rate_limits.backends"
        )

    incr = decr = incr_and_sum = wait = wait_notify = _refuse


class EngineGroupCallbacks(GroupCallbacks):
    """Stock `group(...).add_completion_callback(...)`, kept by the broker itself.

    Parameters:
        ttl_ms: how long a group may take; its callbacks are forgotten then.
    """

    def __init__(self, ttl_ms: int) -> None:
        self._barriers = Barriers()
        super().__init__(self._barriers, barrier_ttl=ttl_ms)

    def bind(self, broker: KeepsGroups) -> None:
        self._barriers.broker = broker

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        group_id, callbacks = _group_of(message)
        if exception is None and callbacks and _arrive(broker, group_id, message.message_id):
            for callback in callbacks:
                broker.enqueue(Message(**callback))

    def after_nack(self, broker: Any, message: Any) -> None:
        group_id, callbacks = _group_of(message)
        if callbacks:
            logger.warning(
                "Message %s is a dead letter, so group %s failed: no completion callback runs unless it is retried.",
                message.message_id,
                group_id,
            )


def _group_of(message: Any) -> tuple[str, list[dict[str, Any]]]:
    group_id, callbacks = (
        message.options.get("group_completion_uuid"),
        message.options.get("group_completion_callbacks"),
    )
    return (group_id, callbacks) if group_id and callbacks else ("", [])


def _arrive(broker: KeepsGroups, group_id: str, member_id: str) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return broker.arrive(group_id, member_id)
        except BrokerUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
