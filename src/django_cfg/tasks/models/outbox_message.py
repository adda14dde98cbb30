"""The outbox: messages of committed transactions on their way to a broker that is no part of the transaction."""

from __future__ import annotations

from django.db import models


class OutboxMessage(models.Model):
    """One message. It is written with the caller's data, and deleted once the broker has stored it.

    Attributes:
        broker: empty for the project's own; else the name of one that a backend of Django tasks has for itself.
        free_at: None until a keeper has seen the row; from then on the moment at which a keeper may publish it.
        error: why the message cannot be published, so that no keeper tries it again and operators see it; or that an
            operator cancelled it, until nobody can be publishing it any more (`free_at`).
    """

    id = models.BigAutoField(primary_key=True)
    message_id = models.CharField(max_length=64)
    broker = models.CharField(max_length=32, default="")
    body = models.TextField()
    delay_ms = models.BigIntegerField(default=0)
    sent_at = models.DateTimeField()
    free_at = models.DateTimeField(null=True)
    error = models.TextField(default="")

    class Meta:
        indexes = [models.Index(fields=["message_id"], name="dcfg_outbox_message")]

    def __str__(self) -> str:
        return self.message_id
