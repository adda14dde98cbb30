"""Ticks: what was decided for each due time of a schedule."""

from __future__ import annotations

from django.db import models

from django_cfg.tasks.models.schedule import Schedule


class TickKind(models.TextChoices):
    """Why there is a tick."""

    DUE = "due"  # its schedule named this time
    MANUAL = "manual"  # an operator ran the schedule now
    GAP = "gap"  # stands for all due times from `first_at` to `nominal_at` that were not enqueued


class TickState(models.TextChoices):
    """What was decided."""

    ENQUEUED = "enqueued"
    BUFFERED = "buffered"  # waits for the end of the run before
    SKIPPED = "skipped"  # the run before had not ended, or the schedule was paused
    MISSED = "missed"  # no scheduler ran at that time, and the policy does not catch up
    REFUSED = "refused"  # its message cannot be enqueued; `reason` says why


class PingState(models.TextChoices):
    """What became of the dead-man URL of a run."""

    NONE = ""
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


class Tick(models.Model):
    """One due time of one schedule; there is a single row for it, so it is enqueued once.

    Times are milliseconds since 1970 by the database's clock. `message_id` is the message of an enqueued tick.
    """

    id = models.BigAutoField(primary_key=True)
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="ticks")
    kind = models.CharField(max_length=10, choices=TickKind, default=TickKind.DUE)
    nominal_at = models.BigIntegerField()
    first_at = models.BigIntegerField()
    count = models.IntegerField(default=1)
    state = models.CharField(max_length=10, choices=TickState)
    reason = models.CharField(max_length=500, default="", blank=True)
    message_id = models.CharField(max_length=64, default="", blank=True)
    decided_at = models.BigIntegerField(db_index=True)
    ping = models.CharField(max_length=10, choices=PingState, default=PingState.NONE, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["schedule", "kind", "nominal_at"], name="dcfg_tick_once"),
        ]
        indexes = [models.Index(fields=["ping", "id"], name="dcfg_tick_ping")]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.nominal_at} {self.state}"
