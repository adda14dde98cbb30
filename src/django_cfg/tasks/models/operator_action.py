"""Who did what to tasks. Rows are added and never changed."""

from __future__ import annotations

from django.db import models


class OperatorAction(models.Model):
    """One act of an operator, also one that failed."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    source = models.CharField(max_length=20)
    action = models.CharField(max_length=40)
    target = models.TextField(default="")
    affected = models.BigIntegerField(default=0)
    outcome = models.CharField(max_length=20)
    detail = models.TextField(default="")

    class Meta:
        default_permissions = ("view",)
        verbose_name = "act of an operator"
        verbose_name_plural = "acts of operators"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"
