"""Queues from which nothing is claimed until an operator resumes them."""

from __future__ import annotations

from django.db import models


class PausedQueue(models.Model):
    """One paused queue."""

    queue = models.CharField(max_length=200, primary_key=True)
    paused_at = models.BigIntegerField()

    def __str__(self) -> str:
        return self.queue
