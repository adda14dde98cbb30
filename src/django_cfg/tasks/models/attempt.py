"""Attempts that failed, with their tracebacks."""

from __future__ import annotations

from django.db import models


class Attempt(models.Model):
    """One execution of a task that did not succeed."""

    id = models.BigAutoField(primary_key=True)
    message_id = models.CharField(max_length=64)
    generation = models.BigIntegerField()
    fence = models.IntegerField()
    ended_as = models.CharField(max_length=20)
    error_type = models.CharField(max_length=200, default="")
    error = models.TextField(default="")
    traceback = models.TextField(default="")
    fingerprint = models.CharField(max_length=16, default="")
    log = models.TextField(default="")
    wait_ms = models.FloatField(default=0)
    run_ms = models.FloatField(default=0)
    ended_at = models.DateTimeField()
    worker = models.CharField(max_length=200, default="")

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["message_id", "generation", "fence"], name="dcfg_attempt_once"),
        ]
        indexes = [models.Index(fields=["fingerprint", "id"], name="dcfg_attempt_error")]

    def __str__(self) -> str:
        return f"{self.message_id} #{self.fence} {self.ended_as}"
