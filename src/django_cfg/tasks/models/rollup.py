"""Counts and durations of all tasks of a span of time, kept when the single records are gone."""

from __future__ import annotations

from django.db import models


class Grain(models.TextChoices):
    """How long the span of a rollup is."""

    MINUTE = "m"
    HOUR = "h"
    DAY = "d"


class Rollup(models.Model):
    """What happened in one span to one task on one queue.

    `waits` and `runs` are histograms: JSON objects from bucket to count, as `records.histogram` reads them.
    """

    id = models.BigAutoField(primary_key=True)
    grain = models.CharField(max_length=1, choices=Grain)
    starts_at = models.DateTimeField()
    queue = models.CharField(max_length=200)
    task = models.CharField(max_length=255)
    attempts = models.BigIntegerField(default=0)
    completed = models.BigIntegerField(default=0)
    retried = models.BigIntegerField(default=0)
    dead = models.BigIntegerField(default=0)
    wait_ms_max = models.FloatField(default=0)
    run_ms_max = models.FloatField(default=0)
    run_ms_sum = models.FloatField(default=0)
    waits = models.TextField(default="{}")
    runs = models.TextField(default="{}")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["grain", "starts_at", "queue", "task"], name="dcfg_rollup_once"),
        ]

    def __str__(self) -> str:
        return f"{self.grain} {self.starts_at:%Y-%m-%d %H:%M} {self.queue} {self.task}"
