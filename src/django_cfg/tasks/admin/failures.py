"""Failures: one line a fault, and single failed attempts."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Q

from django_cfg.errors import FilterError
from django_cfg.tasks import actions
from django_cfg.tasks.admin.letters import GONE
from django_cfg.tasks.admin.pages import (
    PER_PAGE,
    Act,
    Cell,
    Detail,
    Listing,
    Row,
    TaskPages,
    cells,
    detail_url,
    list_url,
    moment,
)
from django_cfg.tasks.audit import Operator
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.models import Attempt, ErrorGroup
from django_cfg.tasks.records.reading import cursor, cursor_at
from django_cfg.units import counted

HEADER = ("Fault", "Seen", "Newest text", "Task", "Last", "Queue", "Where", "First")


class FailurePages(TaskPages):
    search_help = "text of the error, name of the task or type of error"

    def listing(self, query: str, after: str) -> Listing:
        rows = ErrorGroup.objects.using(records_alias()).order_by("-last_seen", "-fingerprint")
        if query:
            rows = rows.filter(Q(task=query) | Q(error_type=query) | Q(error__icontains=query) | Q(fingerprint=query))
        if after:
            at, fingerprint = cursor(after)
            rows = rows.filter(last_seen__lte=at).filter(Q(last_seen__lt=at) | Q(fingerprint__lt=fingerprint))
        found = list(rows[: PER_PAGE + 1])
        more = cursor_at(found[PER_PAGE - 1].last_seen, found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else ""
        return Listing(HEADER, [fault_row(group) for group in found[:PER_PAGE]], more)

    def detail(self, key: str) -> Detail | None:
        group = ErrorGroup.objects.using(records_alias()).filter(pk=key).first()
        if group is None:
            return None
        newest = Cell(group.newest_message_id, detail_url("taskrecord", group.newest_message_id))
        values = [
            *(("Seen", Cell(str(group.seen))), ("Task", Cell(group.task)), ("Queue", Cell(group.queue))),
            *(("Where", Cell(group.place)), ("First", Cell(moment(group.first_seen)))),
            *(("Last", Cell(moment(group.last_seen))), ("Newest task", newest)),
            ("Tasks", Cell("recorded tasks with this fault", list_url("taskrecord", f"group:{key}"))),
        ]
        attempts = Attempt.objects.using(records_alias()).filter(fingerprint=key).order_by("-id")[:3]
        texts = [(f"{a.message_id}, {moment(a.ended_at)}", a.traceback) for a in attempts]
        return Detail(group.error_type, values, [("Newest text", group.error), *texts], ["retry", "discard"])

    def acts(self) -> dict[str, Act]:
        return {
            "retry": Act("Retry its dead letters", "retry_task", _retry),
            "discard": Act("Discard its dead letters", "discard_task", _discard, asks=True, meaning=GONE),
        }


def fault_row(group: ErrorGroup) -> Row:
    return Row(
        group.fingerprint,
        cells(
            Cell(group.error_type, detail_url("errorgroup", group.fingerprint)),
            Cell(str(group.seen), list_url("taskrecord", f"group:{group.fingerprint}")),
            *(group.error[:100], group.task, moment(group.last_seen)),
            *(group.queue, group.place, moment(group.first_seen)),
        ),
    )


def _retry(keys: Sequence[str], by: Operator) -> str:
    return f"Retried {counted(sum(actions.retry_group(key, by=by) for key in keys), 'dead letter')}."


def _discard(keys: Sequence[str], by: Operator) -> str:
    return f"Discarded {counted(sum(actions.clear_group(key, by=by) for key in keys), 'dead letter')}."


class AttemptPages(TaskPages):
    search_help = "id of a task"

    def listing(self, query: str, after: str) -> Listing:
        rows = Attempt.objects.using(records_alias()).order_by("-id")
        if query:
            rows = rows.filter(message_id=query)
        if after:
            rows = rows.filter(id__lt=_number(after))
        found = list(rows.defer("traceback", "log")[: PER_PAGE + 1])
        more = str(found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else ""
        header = ("Attempt", "Ended as", "Error", "Text", "Ran", "Ended", "Worker")
        return Listing(header, [_attempt_row(attempt) for attempt in found[:PER_PAGE]], more)

    def detail(self, key: str) -> Detail | None:
        attempt = Attempt.objects.using(records_alias()).filter(pk=_number(key)).first()
        if attempt is None:
            return None
        task = Cell(attempt.message_id, detail_url("taskrecord", attempt.message_id))
        values = [
            *(("Task", task), ("Ended as", Cell(attempt.ended_as)), ("Error", Cell(attempt.error))),
            *(("Ended", Cell(moment(attempt.ended_at))), ("Worker", Cell(attempt.worker))),
        ]
        texts = [("Traceback", attempt.traceback), ("Log", attempt.log)]
        return Detail(f"Attempt {attempt.fence}", values, [(title, text) for title, text in texts if text])


def _attempt_row(attempt: Attempt) -> Row:
    return Row(
        str(attempt.pk),
        cells(
            Cell(f"{attempt.message_id} #{attempt.fence}", detail_url("attempt", str(attempt.pk))),
            *(attempt.ended_as, attempt.error_type, attempt.error[:100], f"{attempt.run_ms:.0f} ms"),
            *(moment(attempt.ended_at), attempt.worker),
        ),
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise FilterError(f"expected a number, got {text[:40]!r}")
    return int(text)
