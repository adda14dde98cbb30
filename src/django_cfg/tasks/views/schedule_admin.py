"""Schedules in the admin: their times in words, their next and last runs; run, pause, change and reset by POST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from django_cfg.errors import CronError, DjangoCfgError
from django_cfg.tasks import actions, queries
from django_cfg.tasks.audit import Operator
from django_cfg.tasks.cron import look, store
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.models import Schedule
from django_cfg.tasks.models.schedule import Source
from django_cfg.tasks.views.schedule_form import ScheduleForm

if TYPE_CHECKING:
    Page = admin.ModelAdmin[Schedule]
else:
    Page = admin.ModelAdmin  # only type checkers may subscript it

MANAGE = "django_cfg_tasks.manage_schedule"
NEXT_RUNS, LAST_RUNS = 10, 50


class NoteForm(ActionForm):
    """The note of a pause stands beside the choice of the action."""

    note = forms.CharField(max_length=500, required=False, label="Note")


class ScheduleList(ChangeList):
    """Rows that know what they mean now."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        code, now_ms = queries.code_schedules(), store.glance(store.alias_of(queries.broker()))[1]
        for row in self.result_list:
            row.info = look.describe(row, code.get(row.name), now_ms)


class ScheduleAdmin(Page):
    form = ScheduleForm
    action_form = NoteForm
    actions = ("run_now", "pause", "resume", "reset_to_code")
    list_display = ("name", "state", "task", "times", "last", "next", "written_in")
    search_fields = ("name__startswith",)
    ordering = ("name",)
    show_full_result_count = False
    list_per_page = 50
    readonly_fields = ("state_now", "next_runs", "last_runs")

    # -- who may ---------------------------------------------------------------------------------------

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(MANAGE))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_manage_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        return self.has_manage_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        """One at a time, and none that the code would bring back."""
        return obj is not None and self.has_manage_permission(request) and obj.name not in queries.code_schedules()

    # -- reading ---------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        return super().get_queryset(request).using(store.alias_of(queries.broker()))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        unseen = sorted(set(queries.code_schedules()) - store.names(store.alias_of(queries.broker())))
        if unseen:
            text = f"No scheduler has run since these were declared: {', '.join(unseen[:10])}. Start rundramatiq."
            messages.warning(request, text)
        return super().changelist_view(request, extra_context)

    def get_form(self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any) -> Any:
        now = None if obj is None else _effective(obj)
        return type("ThisScheduleForm", (ScheduleForm,), {"now": now})

    def get_fields(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        shown = list(ScheduleForm.base_fields)
        return shown if obj is None else [*self.readonly_fields, *shown]

    @admin.display(description="state")
    def state(self, row: Any) -> str:
        note = f" ({row.info.paused_note})" if row.info.paused_note else ""
        return f"{row.info.state}{note}"

    @admin.display(description="task")
    def task(self, row: Any) -> str:
        return str(row.info.task)

    @admin.display(description="times")
    def times(self, row: Any) -> str:
        return str(row.info.words or row.info.error)

    @admin.display(description="last")
    def last(self, row: Any) -> str:
        return row.info.last or "-"

    @admin.display(description="next")
    def next(self, row: Any) -> str:
        return ", ".join(row.info.next) or "-"

    @admin.display(description="written in")
    def written_in(self, row: Any) -> str:
        changed = row.info.overridden
        return f"{row.info.source}, changed here: {', '.join(changed)}" if changed else str(row.info.source)

    @admin.display(description="state")
    def state_now(self, row: Schedule) -> str:
        row.info = self._info(row)  # type: ignore[attr-defined]
        return f"{self.state(row)} · {self.times(row)} · {self.written_in(row)}"

    @admin.display(description="next runs")
    def next_runs(self, row: Schedule) -> SafeString:
        return format_html_join("", "{}<br>", ((when,) for when in self._info(row, NEXT_RUNS).next)) or SafeString("-")

    @admin.display(description="last runs")
    def last_runs(self, row: Schedule) -> SafeString:
        found = look.ticks(queries.broker(), row, LAST_RUNS)
        lines = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", (_told(tick) for tick in found))
        return format_html("<table>{}</table>", lines) if found else SafeString("-")

    def _info(self, row: Schedule, count: int = 1) -> look.ScheduleInfo:
        alias = store.alias_of(queries.broker())
        return look.describe(row, queries.code_schedules().get(row.name), store.glance(alias)[1], count)

    # -- changing --------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        entry: Entry = form.entry
        code = queries.code_schedules()
        if change and obj.source == Source.CODE and obj.name in code:
            actions.override_schedule(obj.name, _differences(entry, code[obj.name]), by=_operator(request))
        else:
            actions.define_schedule(entry.written(), by=_operator(request))
        obj.pk = self.get_queryset(request).get(name=entry.name).pk
        obj.name = entry.name

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Ticks are not edited."""

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        actions.delete_schedule(obj.name, by=_operator(request))

    @admin.action(description="Run now", permissions=["manage"])
    def run_now(self, request: HttpRequest, chosen: QuerySet[Schedule]) -> None:
        self._each(request, chosen, "run now", lambda by, row: actions.run_schedule(row.name, by=by))

    @admin.action(description="Pause (with a note)", permissions=["manage"])
    def pause(self, request: HttpRequest, chosen: QuerySet[Schedule]) -> None:
        note = request.POST.get("note", "")
        self._each(request, chosen, f"paused: {note}", lambda by, row: actions.pause_schedule(row.name, note, by=by))

    @admin.action(description="Resume", permissions=["manage"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Schedule]) -> None:
        self._each(request, chosen, "resumed", lambda by, row: actions.resume_schedule(row.name, by=by))

    @admin.action(description="Reset to what the code says", permissions=["manage"])
    def reset_to_code(self, request: HttpRequest, chosen: QuerySet[Schedule]) -> None:
        self._each(request, chosen, "reset to the code", lambda by, row: actions.reset_schedule(row.name, by=by))

    def _each(
        self, request: HttpRequest, chosen: QuerySet[Schedule], what: str, act: Callable[[Operator, Schedule], object]
    ) -> None:
        by = _operator(request)
        for row in chosen:
            try:
                act(by, row)
            except DjangoCfgError as error:
                messages.error(request, f"{row.name}: {error}")
            else:
                self.log_change(request, row, what)
                messages.success(request, f"{row.name}: {what}.")


def _operator(request: HttpRequest) -> Operator:
    return Operator(request.user.get_username(), "admin")


def _effective(row: Schedule) -> Entry | None:
    code = queries.code_schedules().get(row.name)
    try:
        return store.effective(row, code)
    except CronError:
        return code


def _differences(entry: Entry, code: Entry) -> dict[str, Any]:
    found = {f.name: getattr(entry, f.name) for f in fields(Entry)}
    changed = {name: value for name, value in found.items() if value != getattr(code, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}


def _told(tick: look.TickInfo) -> tuple[str, str, str]:
    times = tick.nominal if tick.count == 1 else f"{tick.count} times, {tick.first} to {tick.nominal}"
    what = f"{tick.state} ({tick.outcome})" if tick.outcome else tick.state
    return times, what, tick.reason or tick.message_id
