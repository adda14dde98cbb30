"""Small facts that all workers of one broker share."""

from __future__ import annotations

from django.db import models


class EngineState(models.Model):
    """A named number and the one before it, for example the server time of the last sweep."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.BigIntegerField(default=0)
    previous = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
