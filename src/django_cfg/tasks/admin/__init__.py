"""Admin pages of tasks: thin; they ask `queries` and call `actions`. Shown with `admin_enabled=True`."""

from __future__ import annotations

from django.contrib import admin

from django_cfg.tasks import conf
from django_cfg.tasks.admin.failures import AttemptPages, FailurePages
from django_cfg.tasks.admin.letters import DeadLetterPages
from django_cfg.tasks.admin.operators import OperatorActionPages
from django_cfg.tasks.admin.queues import QueuePages
from django_cfg.tasks.admin.records import RecordPages
from django_cfg.tasks.models import Attempt, DeadLetter, ErrorGroup, OperatorAction, Queue, Schedule, TaskRecord
from django_cfg.tasks.views.schedule_admin import ScheduleAdmin

if conf.read().admin_enabled:
    admin.site.register(TaskRecord, RecordPages)
    admin.site.register(Attempt, AttemptPages)
    admin.site.register(ErrorGroup, FailurePages)
    admin.site.register(DeadLetter, DeadLetterPages)
    admin.site.register(Queue, QueuePages)
    admin.site.register(OperatorAction, OperatorActionPages)
    admin.site.register(Schedule, ScheduleAdmin)
