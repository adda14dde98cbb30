"""Workers: the processes that announce themselves. A row ends with its process, or is swept if that was lost."""

from __future__ import annotations

from django.db import models


class Worker(models.Model):
    """One worker process, as it described itself at its last heartbeat.

    `running` lists the tasks on its threads: name, message id, and for how many seconds by then. Ages instead of
    moments, because the clocks of hosts differ; `heartbeat_at` and `started_at` are the database's own.
    """

    id = models.BigAutoField(primary_key=True)
    host_id = models.CharField(max_length=200)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    process_started = models.CharField(max_length=40)
    supervisor_pid = models.IntegerField()
    version = models.CharField(max_length=40)
    queues = models.JSONField(default=list)
    threads = models.IntegerField()
    running = models.JSONField(default=list)
    rss_bytes = models.BigIntegerField(null=True)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["heartbeat_at"], name="dcfg_worker_heartbeat")]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
