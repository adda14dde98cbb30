"""Admin pages of records and dead letters: read only, everything escaped by Django's own templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from django_cfg.tasks import conf
from django_cfg.tasks.models import Attempt, DeadLetter, TaskRecord

if TYPE_CHECKING:
    Page = admin.ModelAdmin[Any]
else:
    Page = admin.ModelAdmin  # only type checkers may subscript it


class ReadOnly(Page):
    """A page that shows and changes nothing."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TaskRecordAdmin(ReadOnly):
    list_display = ("task", "queue", "state", "attempts", "wait_ms", "run_ms", "enqueued_at", "worker")
    list_filter = ("state", "queue")
    search_fields = ("message_id__exact", "task__startswith")
    ordering = ("-enqueued_at",)


class AttemptAdmin(ReadOnly):
    list_display = ("message_id", "fence", "ended_as", "error_type", "error", "ended_at", "worker")
    search_fields = ("message_id__exact",)
    ordering = ("-id",)


class DeadLetterAdmin(ReadOnly):
    list_display = ("task", "queue", "reason", "error", "message_id")
    list_filter = ("queue",)
    search_fields = ("message_id__exact",)
    exclude = ("body",)
    ordering = ("-id",)


if conf.read().admin_enabled:
    admin.site.register(TaskRecord, TaskRecordAdmin)
    admin.site.register(Attempt, AttemptAdmin)
    admin.site.register(DeadLetter, DeadLetterAdmin)
