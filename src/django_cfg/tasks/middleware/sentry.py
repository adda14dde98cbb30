"""Sentry events of a task carry its name, queue, id and attempt, and nothing of the task before it.

In the stack where the project has called `sentry_sdk.init()` by the time its apps load, as settings.py does; nothing
here imports the SDK before.
"""

from __future__ import annotations

import sys
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import Middleware


def is_used() -> bool:
    """Whether the project has set Sentry up."""
    sdk = sys.modules.get("sentry_sdk")
    return sdk is not None and sdk.is_initialized()


class SentryTags(Middleware):
    """Each task runs in an isolation scope of its own, with tags."""

    def __init__(self) -> None:
        self._scopes: dict[str, Any] = {}

    def before_process_message(self, broker: Broker, message: Any) -> None:
        import sentry_sdk

        scope = sentry_sdk.isolation_scope()
        entered = scope.__enter__()
        self._scopes[message.message_id] = scope
        entered.set_transaction_name(message.actor_name, source="task")
        entered.set_tag("task", message.actor_name)
        entered.set_tag("queue", message.queue_name)
        entered.set_tag("message_id", message.message_id)
        entered.set_tag("attempt", 1 + int(message.options.get("retries", 0)))

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._leave(message)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self._leave(message)

    def _leave(self, message: Any) -> None:
        scope = self._scopes.pop(message.message_id, None)
        if scope is not None:
            scope.__exit__(None, None, None)
