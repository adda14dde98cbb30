"""Tells receivers of `task_enqueued` that a task was sent; costs a look at a list where there are none."""

from __future__ import annotations

from typing import Any

from dramatiq import Message

from django_cfg.tasks import signals
from django_cfg.tasks.events import TaskEnqueued


def tell_enqueued(message: Message[Any], delay_ms: int | None) -> None:
    """A receiver that raises is logged by Django and harms nobody: the task is sent already."""
    if signals.task_enqueued.receivers:
        event = TaskEnqueued(message.message_id, message.actor_name, message.queue_name, delay_ms or 0)
        signals.task_enqueued.send_robust(sender=event.task, event=event)
