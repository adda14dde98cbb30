"""Signals of Django's Tasks framework, sent so that a receiver changes nothing and nobody pays for none."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from django_cfg.tasks import compat
from django_cfg.tasks.compat import BaseTaskBackend, InvalidTaskBackend, task_backends

logger = logging.getLogger(compat.LOGGER)
#: The least level of the line that the framework's own receiver writes.
LEVELS = {
    compat.task_enqueued: logging.DEBUG,
    compat.task_started: logging.INFO,
    compat.task_finished: logging.INFO,
}
#: The framework's own receiver of each of them, once found: asked twice for every task.
_own: dict[int, Any] = {}


def is_heard(signal: Signal, level: int | None = None) -> bool:
    """Whether anybody would notice: a receiver of the project, or a log that shows the framework's line."""
    receivers = signal.receivers
    if len(receivers) != 1 or (_own.get(id(signal)) is not receivers[0] and not _is_own(signal)):
        return True
    return logger.isEnabledFor(level or LEVELS[signal])


def _is_own(signal: Signal) -> bool:
    """Whether the one receiver is the framework's own, which writes a line."""
    entry = signal.receivers[0]
    function: Any = entry[1]() if hasattr(entry[1], "__callback__") else entry[1]
    is_own = getattr(function, "__module__", "") == f"{compat.MODULE}.signals"
    if is_own:
        _own[id(signal)] = entry
    return is_own


def send(signal: Signal, sender: type[BaseTaskBackend], result: Any) -> None:
    """Robust: a task is accepted, or has ended, whatever its receivers say."""
    if is_heard(signal):
        signal.send_robust(sender=sender, task_result=result)


def sender_of(alias: str) -> type[BaseTaskBackend]:
    """The class of the backend that enqueued a task; this process may not have it in its TASKS."""
    try:
        return type(task_backends[alias])
    except InvalidTaskBackend:
        return BaseTaskBackend
