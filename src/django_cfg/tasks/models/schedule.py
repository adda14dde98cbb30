"""Schedules: what all schedulers share about them. What they are, the code says, or an operator."""

from __future__ import annotations

from django.db import models


class Source(models.TextChoices):
    """Where a schedule is written."""

    CODE = "code"
    ADMIN = "admin"


class Schedule(models.Model):
    """One schedule. Its row is locked while its ticks are decided.

    `definition` is the schedule as the code, or the admin page, wrote it last; `override` holds the keys that an
    operator changed. Every tick up to the nominal time `settled_at` is decided, for the times that `spec` names.
    `revision` grows with every change that schedulers have to learn of.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=200, unique=True)
    source = models.CharField(max_length=10, choices=Source, default=Source.CODE)
    definition = models.JSONField(default=dict)
    override = models.JSONField(default=dict, blank=True)
    spec = models.CharField(max_length=500, default="")
    settled_at = models.BigIntegerField(default=0)
    revision = models.BigIntegerField(default=0, db_index=True)
    paused_at = models.BigIntegerField(null=True, blank=True)
    paused_note = models.CharField(max_length=500, default="", blank=True)
    changed_by = models.CharField(max_length=200, default="", blank=True)
    last_message_id = models.CharField(max_length=64, default="", blank=True)
    last_nominal_at = models.BigIntegerField(null=True, blank=True)
    buffered_at = models.BigIntegerField(null=True, blank=True)

    class Meta:
        permissions = [("manage_schedule", "Can run, pause and change schedules")]

    def __str__(self) -> str:
        return self.name
