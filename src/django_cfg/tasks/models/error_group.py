"""Failures that are one fault: same task, same type of error, raised on the same way through the code."""

from __future__ import annotations

from django.db import models


class ErrorGroup(models.Model):
    """One fault, how often it was seen, and its newest text."""

    fingerprint = models.CharField(max_length=16, primary_key=True)
    task = models.CharField(max_length=255)
    queue = models.CharField(max_length=200)
    error_type = models.CharField(max_length=200)
    place = models.CharField(max_length=300, default="")
    error = models.TextField(default="")
    seen = models.BigIntegerField(default=0)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    newest_message_id = models.CharField(max_length=64, default="")

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["last_seen", "fingerprint"], name="dcfg_error_newest")]
        verbose_name = "failure"

    def __str__(self) -> str:
        return f"{self.error_type} in {self.task}"
