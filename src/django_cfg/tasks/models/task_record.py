"""Records: what remains of a task after it ran."""

from __future__ import annotations

from django.db import models

from django_cfg.tasks.lifecycle import State


class Records(models.Manager["TaskRecord"]):
    """Records by `created_at` too, the name under which task tables elsewhere have `enqueued_at`."""

    def get_queryset(self) -> models.QuerySet[TaskRecord]:
        return super().get_queryset().alias(created_at=models.F("enqueued_at"))


class TaskRecord(models.Model):
    """The latest known state of one task. Written in batches by workers, never on the way of a task.

    `wait_ms` is the time that all attempts together could have run and did not; backoffs are no part of it.
    `run_ms` is the run time of the latest attempt.
    `order_key` grows with every event of a task, so that a late writer never overwrites newer news.
    `arguments` and `result` are JSON without secrets and cut where they are long.
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
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    worker = models.CharField(max_length=200, default="")
    arguments = models.TextField(default="")
    result = models.TextField(default="")
    reason = models.CharField(max_length=200, default="")
    error_type = models.CharField(max_length=200, default="")
    error = models.TextField(default="")
    fingerprint = models.CharField(max_length=16, default="")
    tags = models.CharField(max_length=500, default="")
    parent_id = models.CharField(max_length=64, default="")
    retry_of = models.CharField(max_length=64, default="")
    log = models.TextField(default="")
    progress_done = models.FloatField(null=True)
    progress_total = models.FloatField(null=True)
    progress_note = models.CharField(max_length=200, default="")
    generation = models.BigIntegerField(default=0)
    order_key = models.BigIntegerField(default=0)

    objects = Records()

    class Meta:
        # One for each way to choose, all in the order of the pages: a list never counts and never sorts.
        indexes = [
            models.Index(fields=["updated_at", "message_id"], name="dcfg_record_newest"),
            models.Index(fields=["state", "updated_at", "message_id"], name="dcfg_record_state"),
            models.Index(fields=["task", "updated_at", "message_id"], name="dcfg_record_task"),
            models.Index(fields=["queue", "updated_at", "message_id"], name="dcfg_record_queue"),
        ]
        verbose_name = "record"
        default_permissions = ("view",)
        permissions = [
            ("retry_task", "Can retry dead letters"),
            ("cancel_task", "Can cancel waiting tasks"),
            ("discard_task", "Can delete dead letters"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.message_id} {self.state}"
