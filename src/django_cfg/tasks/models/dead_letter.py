"""Dead letters: messages that will not run again unless an operator retries them. They never expire silently."""

from __future__ import annotations

from django.db import models


class DeadLetter(models.Model):
    """A message with the reason why it stopped; its body carries the tracebacks of its last attempts."""

    id = models.BigAutoField(primary_key=True)
    message_id = models.CharField(max_length=64, unique=True)
    queue = models.CharField(max_length=200)
    task = models.CharField(max_length=255)
    priority = models.SmallIntegerField(default=0)
    body = models.TextField()
    enqueued_at = models.BigIntegerField()
    died_at = models.BigIntegerField()
    generation = models.BigIntegerField()
    deliveries = models.SmallIntegerField(default=0)
    reason = models.CharField(max_length=200)
    error = models.TextField(default="")

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["queue", "id"], name="dcfg_dead_queue")]

    def __str__(self) -> str:
        return f"{self.task} {self.message_id}: {self.reason}"
