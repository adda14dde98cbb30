"""The state of everything on one page."""

from __future__ import annotations

from django_cfg.tasks.models.paused_queue import PausedQueue


class Overview(PausedQueue):
    """Gives the page its place and its permission; what it shows has permissions of its own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "overview"
        verbose_name_plural = "overview"
