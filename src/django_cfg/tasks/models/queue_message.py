"""The queue: messages that wait, are due later, or are claimed. Finished ones are deleted at once."""

from __future__ import annotations

from django.db import models

from django_cfg.tasks.models.partial_index import PartialIndex


class MessageState(models.IntegerChoices):
    """Where a message stands; the first column of the indexes, so each state is a small index of its own."""

    READY = 0
    SCHEDULED = 1
    CLAIMED = 2
    SUSPECT = 3  # ready, but an earlier run took its process down: one at a time in a process


class QueueMessage(models.Model):
    """One accepted message. `session` is the claim; `fence` makes every claim of it distinct."""

    id = models.BigAutoField(primary_key=True)
    message_id = models.CharField(max_length=64)
    queue = models.CharField(max_length=200)
    task = models.CharField(max_length=255)
    priority = models.SmallIntegerField(default=0)
    state = models.SmallIntegerField(choices=MessageState)
    body = models.TextField()
    enqueued_at = models.BigIntegerField()
    due_at = models.BigIntegerField()
    generation = models.BigIntegerField()
    is_retry = models.BooleanField(default=False)
    fence = models.IntegerField(default=0)
    deliveries = models.SmallIntegerField(default=0)
    session = models.BigIntegerField(null=True)
    claim_seq = models.BigIntegerField(null=True)
    claimed_at = models.BigIntegerField(null=True)
    cancel_requested = models.BooleanField(default=False)

    class Meta:
        # Every claim writes the row anew, into each index that still covers it; so each covers one state only.
        indexes = [
            PartialIndex(
                fields=["state", "queue", "priority", "id"],
                where=models.Q(state__in=(MessageState.READY.value, MessageState.SUSPECT.value)),
                on=["postgresql"],
                name="dcfg_msg_claim",
            ),
            PartialIndex(
                fields=["state", "queue", "due_at"],
                where=models.Q(state=MessageState.SCHEDULED.value),
                name="dcfg_msg_due",
            ),
            PartialIndex(
                fields=["session", "cancel_requested"],
                where=models.Q(session__isnull=False),
                name="dcfg_msg_session",
            ),
        ]
        # Not `unique=True`, which on PostgreSQL makes a second index, for LIKE.
        constraints = [models.UniqueConstraint(fields=["message_id"], name="dcfg_msg_id")]

    def __str__(self) -> str:
        return f"{self.task} {self.message_id}"
