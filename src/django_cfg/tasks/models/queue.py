"""Queues as something to look at and to act on; what they hold is the broker's."""

from __future__ import annotations

from django_cfg.tasks.models.paused_queue import PausedQueue


class Queue(PausedQueue):
    """Gives the page of queues its place and its permissions."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        permissions = [("pause_queue", "Can pause and resume queues")]
