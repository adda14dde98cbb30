"""Orders to cancel, for brokers that cannot take a message out of their queues: it is dropped when it is claimed."""

from __future__ import annotations

from django.db import models


class Cancellation(models.Model):
    """One message that must not run any more."""

    message_id = models.CharField(max_length=64, primary_key=True)
    asked_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return self.message_id
