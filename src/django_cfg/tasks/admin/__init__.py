"""Admin pages of tasks: thin; they ask `queries` and call `actions`. Shown with `admin_enabled=True`."""

from __future__ import annotations

from django.contrib import admin

from django_cfg.tasks import conf
from django_cfg.tasks.admin.failures import AttemptPages, FailurePages
from django_cfg.tasks.admin.letters import DeadLetterPages
from django_cfg.tasks.admin.operators import OperatorActionPages
from django_cfg.tasks.admin.overview import OverviewPages
from django_cfg.tasks.admin.queues import QueuePages
from django_cfg.tasks.admin.records import RecordPages
from django_cfg.tasks.admin.workers import WorkerPages
from django_cfg.tasks.models import (
    Attempt,
    DeadLetter,
    ErrorGroup,
    OperatorAction,
    Overview,
    Queue,
    Schedule,
    TaskRecord,
    Worker,
)
from django_cfg.tasks.views.schedule_admin import ScheduleAdmin

if conf.read().admin_enabled:
    admin.site.register(Overview, OverviewPages)
    admin.site.register(TaskRecord, RecordPages)
    admin.site.register(Attempt, AttemptPages)
    admin.site.register(ErrorGroup, FailurePages)
    admin.site.register(DeadLetter, DeadLetterPages)
    admin.site.register(Queue, QueuePages)
    admin.site.register(Worker, WorkerPages)
    admin.site.register(OperatorAction, OperatorActionPages)
    admin.site.register(Schedule, ScheduleAdmin)
