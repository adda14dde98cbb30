"""The audit: who did what. Rows are added and never changed."""

from __future__ import annotations

from django_cfg.errors import FilterError
from django_cfg.tasks.admin.pages import PER_PAGE, Cell, Detail, Listing, Row, TaskPages, cells, detail_url, moment
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.models import OperatorAction


class OperatorActionPages(TaskPages):
    def listing(self, query: str, after: str) -> Listing:
        rows = OperatorAction.objects.using(records_alias()).order_by("-id")
        if after:
            rows = rows.filter(id__lt=_number(after))
        found = list(rows[: PER_PAGE + 1])
        more = str(found[PER_PAGE - 1].pk) if len(found) > PER_PAGE else ""
        header = ("When", "Who", "By", "Did", "Count", "Outcome", "To what")
        return Listing(header, [_row(action) for action in found[:PER_PAGE]], more)

    def detail(self, key: str) -> Detail | None:
        action = OperatorAction.objects.using(records_alias()).filter(pk=_number(key)).first()
        if action is None:
            return None
        values = [
            *(("When", Cell(moment(action.at))), ("Who", Cell(action.actor)), ("By", Cell(action.source))),
            *(("Count", Cell(str(action.affected))), ("Outcome", Cell(action.outcome))),
        ]
        texts = [("To what", action.target), ("Detail", action.detail)]
        return Detail(action.action, values, [(title, text) for title, text in texts if text])


def _row(action: OperatorAction) -> Row:
    return Row(
        str(action.pk),
        cells(
            Cell(moment(action.at), detail_url("operatoraction", str(action.pk))),
            *(action.actor, action.source, action.action, action.affected, action.outcome, action.target[:100]),
        ),
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise FilterError(f"expected a number, got {text[:40]!r}")
    return int(text)
