"""Return values, kept until they expire."""

from __future__ import annotations

from django.db import models


class TaskResult(models.Model):
    """What a task returned (or the error that ended it), as JSON."""

    message_id = models.CharField(max_length=64, primary_key=True)
    body = models.TextField()
    expires_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return self.message_id
