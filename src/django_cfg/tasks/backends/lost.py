"""The last word for tasks that could not say it: their process died, or nothing here could run them."""

from __future__ import annotations

from typing import Any

from django_cfg.tasks import signals as engine
from django_cfg.tasks.backends import results, signals, stores
from django_cfg.tasks.backends.ours import backends_of_ours
from django_cfg.tasks.compat import AnyResult, TaskResultStatus, task_finished
from django_cfg.tasks.events import TaskSettled

#: Deaths that no exception of the task stands for.
SILENT = ("", "WorkerLost")


def listen() -> None:
    """Hear of dead letters in this process and in those that it forks; asking again changes nothing."""
    engine.task_dead_lettered.connect(tell, dispatch_uid=__name__)


def tell(sender: str, event: TaskSettled, **_: Any) -> None:
    """Send `task_finished` for a task that ended without a run which could send it."""
    if event.error_type not in SILENT:
        return
    result = _find(event.message_id)
    if result is not None and result.status == TaskResultStatus.FAILED and results.is_lost(result):
        signals.send(task_finished, signals.sender_of(result.backend), result)


def _find(result_id: str) -> AnyResult | None:
    for broker in {id(backend.broker): backend.broker for backend in backends_of_ours()}.values():
        found = stores.find(broker, result_id)
        if found is not None:
            return found
    return None
