"""Sessions: what a worker process holds claims under."""

from __future__ import annotations

from django.db import models


class WorkerSession(models.Model):
    """A worker's tie to the broker. Its messages refer to it, so one write renews all of its leases.

    No column that an exchange writes is in an index: PostgreSQL then writes the row in place.
    """

    id = models.BigAutoField(primary_key=True)
    host_id = models.CharField(max_length=200)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    process_started = models.CharField(max_length=40)
    lease_ms = models.IntegerField()
    lease_until = models.BigIntegerField()
    opened_at = models.BigIntegerField()
    last_seq = models.BigIntegerField(default=0)
    last_refused = models.TextField(default="[]")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
