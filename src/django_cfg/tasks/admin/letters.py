"""Dead letters: what the broker itself holds, whatever is recorded."""

from __future__ import annotations

from collections.abc import Sequence

from django_cfg.errors import FilterError
from django_cfg.tasks import actions, queries
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
)
from django_cfg.tasks.audit import Operator
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo
from django_cfg.tasks.records.filter import parse
from django_cfg.units import counted, humane, s_to_ms

GONE = "They are deleted for good and will never run."


class DeadLetterPages(TaskPages):
    search_help = "task:NAME queue:NAME error:TEXT id:ID since:2h before:7d"
    matching = "all dead letters"

    def listing(self, query: str, after: str) -> Listing:
        found = queries.dead_letters(PER_PAGE + 1, meant(query), after)
        more = found[PER_PAGE - 1].cursor if len(found) > PER_PAGE else ""
        header = ("Task", "Queue", "Reason", "Error", "Attempts", "Died", "Id")
        return Listing(header, [_row(letter) for letter in found[:PER_PAGE]], more)

    def detail(self, key: str) -> Detail | None:
        found = queries.dead_letters(1, DeadFilter(message_ids=(key,)))
        if not found:
            return None
        [letter] = found
        values = [
            ("Id", Cell(key)),
            *(("Queue", Cell(letter.queue)), ("Reason", Cell(letter.reason)), ("Error", Cell(letter.error))),
            *(("Attempts", Cell(str(letter.attempts))), ("Died", Cell(f"{humane(s_to_ms(letter.age_s))} ago"))),
            ("Record", Cell("what is recorded of it", list_url("taskrecord", f"id:{key}"))),
        ]
        return Detail(letter.task, values, _tracebacks(letter), ["retry", "discard"])

    def acts(self) -> dict[str, Act]:
        return {
            "retry": Act("Retry", "retry_task", retry, _retry_all),
            "discard": Act("Discard", "discard_task", discard, _discard_all, asks=True, meaning=GONE),
        }


def meant(query: str) -> DeadFilter:
    """The choice of records as one of dead letters.

    Raises:
        FilterError: something that only records have.
    """
    only = queries.letters_meant(parse(query))
    if only is None:
        raise FilterError("dead letters are chosen by one task:, one queue:, error:, id:, since: and before:")
    return only


def _row(letter: DeadLetterInfo) -> Row:
    return Row(
        letter.message_id,
        cells(
            Cell(letter.task, detail_url("deadletter", letter.message_id)),
            *(letter.queue, letter.reason, letter.error[:100], letter.attempts),
            *(f"{humane(s_to_ms(letter.age_s))} ago", letter.message_id),
        ),
    )


def _tracebacks(letter: DeadLetterInfo) -> list[tuple[str, str]]:
    errors = letter.message.options.get("errors", []) if letter.message is not None else []
    return [(f"Attempt {number}", str(error.get("traceback", ""))) for number, error in enumerate(errors, 1)]


def retry(keys: Sequence[str], by: Operator) -> str:
    return f"Retried {counted(actions.retry_failed(DeadFilter(message_ids=tuple(keys)), by=by), 'dead letter')}."


def _retry_all(query: str, by: Operator) -> str:
    return f"Retried {counted(actions.retry_failed(meant(query), by=by), 'dead letter')}."


def discard(keys: Sequence[str], by: Operator) -> str:
    return f"Discarded {counted(actions.clear_failed(DeadFilter(message_ids=tuple(keys)), by=by), 'dead letter')}."


def _discard_all(query: str, by: Operator) -> str:
    return f"Discarded {counted(actions.clear_failed(meant(query), by=by), 'dead letter')}."
