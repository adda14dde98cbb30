"""Records: what remains of a task after it ran."""

from __future__ import annotations

from django.db import models

from django_cfg.tasks.lifecycle import State


class TaskRecord(models.Model):
    """The latest known state of one task. Written in batches by workers, never on the way of a task.

    `wait_ms` is the time that all attempts together could have run and did not; backoffs are no part of it.
    `run_ms` is the run time of the latest attempt.
    `order_key` grows with every event of a task, so that a late writer never overwrites newer news.
    """

    message_id = models.CharField(max_length=64, primary_key=True)
    task = models.CharField(max_length=255)
    queue = models.CharField(max_length=200)
    state = models.CharField(max_length=20, choices=[(state.value, state.value) for state in State])
    attempts = models.IntegerField(default=0)
    retries = models.IntegerField(default=0)
    wait_ms = models.FloatField(default=0)
    run_ms = models.FloatField(default=0)
    enqueued_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    worker = models.CharField(max_length=200, default="")
    reason = models.CharField(max_length=200, default="")
    error = models.TextField(default="")
    generation = models.BigIntegerField(default=0)
    order_key = models.BigIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["task", "queue"], name="dcfg_record_task"),
            models.Index(fields=["-enqueued_at"], name="dcfg_record_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.message_id} {self.state}"
