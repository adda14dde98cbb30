"""Pipelines, which cost a task that is in none nothing."""

from __future__ import annotations

from typing import Any

from dramatiq import Broker
from dramatiq.middleware import Pipelines


class EnginePipelines(Pipelines):
    """Dramatiq's pipelines. Its hook runs an import for every task; this one first asks for a next step."""

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if "pipe_target" in message.options:
            stock: Any = super()
            stock.after_process_message(broker, message, result=result, exception=exception)
