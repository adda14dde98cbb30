"""Records: every recorded task, by the same filter as in the shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_cfg.tasks import actions, queries
from django_cfg.tasks.admin.letters import GONE, discard, retry
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
    pretty,
)
from django_cfg.tasks.audit import Operator
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import Attempt, TaskRecord
from django_cfg.tasks.records.filter import TaskFilter, parse
from django_cfg.units import humane

CANCELLED = "Those that wait will not run; those that run are asked to stop."


class RecordPages(TaskPages):
    matching = "all dead letters"
    search_help = "state:failed task:NAME queue:NAME error:TEXT tag:NAME since:2h; an id alone finds one task"
    shortcuts = (
        ("Failed", "state:failed"),
        ("Retrying", "state:retrying"),
        ("Running", "state:running"),
        ("Completed", "state:completed"),
        ("Last hour", "since:1h"),
    )

    def listing(self, query: str, after: str) -> Listing:
        return self._listed(parse(query), after)

    def meant(self, query: str) -> Listing:
        """Only dead letters are retried and discarded, whatever else the list shows."""
        only = parse(query)
        if only.states and State.DEAD_LETTER not in only.states:
            return Listing((), ())
        return self._listed(replace(only, states=(State.DEAD_LETTER,)), "")

    def _listed(self, only: TaskFilter, after: str) -> Listing:
        page = queries.tasks(only, PER_PAGE, after)
        header = ("Task", "State", "Error", "Queue", "Changed", "Attempts", "Waited", "Ran", "Arguments")
        note = "Searched the newest 5 000 of these; older ones are behind the link below." if page.is_partial else ""
        return Listing(header, [_row(record) for record in page.records], page.next, note)

    def detail(self, key: str) -> Detail | None:
        found = queries.task(key)
        if found is None:
            return None
        record = found.record
        values = [] if record is None else _values(record)
        texts = [] if record is None else _texts(record)
        acts = [] if record is None else ACTS_OF.get(State(record.state), [])
        title = key if record is None else record.task
        return Detail(title, values, [*texts, *map(attempt_text, reversed(found.attempts))], acts)

    def acts(self) -> dict[str, Act]:
        return {
            "retry": Act("Retry", "retry_task", retry, _retry_all),
            "cancel": Act("Cancel", "cancel_task", _cancel, asks=True, meaning=CANCELLED),
            "discard": Act("Discard", "discard_task", discard, _discard_all, asks=True, meaning=GONE),
        }


#: What can be done with a task in this state.
ACTS_OF: dict[State, list[str]] = {
    State.DEAD_LETTER: ["retry", "discard"],
    State.RETRYING: ["cancel"],
    State.RUNNING: ["cancel"],
    State.PENDING: ["cancel"],
}


def _row(record: TaskRecord) -> Row:
    error = f"{record.error_type}: {record.error}"[:100] if record.error_type else ""
    return Row(
        record.message_id,
        cells(
            Cell(record.task, detail_url("taskrecord", record.message_id)),
            Cell(record.state + progress_of(record), tone=tone_of(record)),
            *(error, record.queue, moment(record.updated_at)),
            *(record.attempts, humane(record.wait_ms), humane(record.run_ms), record.arguments[:80]),
        ),
    )


def tone_of(record: TaskRecord) -> str:
    return "bad" if record.state == State.DEAD_LETTER else ""


def progress_of(record: TaskRecord) -> str:
    """How far a task said it is, behind its state."""
    if record.progress_done is None:
        return ""
    total = "" if record.progress_total is None else f" of {record.progress_total:g}"
    return f" ({record.progress_done:g}{total}{': ' if record.progress_note else ''}{record.progress_note})"


def _values(record: TaskRecord) -> list[tuple[str, Cell]]:
    links = {
        "Sent by": Cell(record.parent_id, detail_url("taskrecord", record.parent_id) if record.parent_id else ""),
        "Repeats": Cell(record.retry_of, detail_url("taskrecord", record.retry_of) if record.retry_of else ""),
        "Fault": Cell(record.fingerprint, list_url("taskrecord", f"group:{record.fingerprint}")),
        "It sent": Cell("tasks", list_url("taskrecord", f"parent:{record.message_id}")),
    }
    plain: dict[str, Any] = {
        "Id": record.message_id,
        "State": Cell(record.state + progress_of(record), tone=tone_of(record)),
        "Queue": record.queue,
        "Attempts": record.attempts,
        "Waited": humane(record.wait_ms),
        "Ran": humane(record.run_ms),
        "Enqueued": moment(record.enqueued_at),
        "Started": moment(record.started_at),
        "Ended": moment(record.finished_at),
        "Worker": record.worker,
        "Tags": record.tags.strip(",").replace(",", ", "),
        "Reason": record.reason,
        "Error": f"{record.error_type}: {record.error}" if record.error_type else "",
    }
    named = zip(plain, cells(*plain.values()), strict=True)
    return [(name, cell) for name, cell in [*named, *links.items()] if cell.text]


def _texts(record: TaskRecord) -> list[tuple[str, str]]:
    texts = [("Arguments", pretty(record.arguments)), ("Result", pretty(record.result)), ("Log", record.log)]
    return [(title, text) for title, text in texts if text]


def attempt_text(attempt: Attempt) -> tuple[str, str]:
    title = f"Attempt {attempt.fence}: {attempt.ended_as}, {moment(attempt.ended_at)}, on {attempt.worker or '-'}"
    text = attempt.traceback or f"{attempt.error_type}: {attempt.error}"
    return title, f"{text.rstrip()}\n\n{attempt.log}" if attempt.log else text


def _retry_all(query: str, by: Operator) -> str:
    return f"Retried {actions.retry_matching(parse(query), by=by)} dead letters."


def _discard_all(query: str, by: Operator) -> str:
    return f"Discarded {actions.clear_matching(parse(query), by=by)} dead letters."


def _cancel(keys: Sequence[str], by: Operator) -> str:
    return actions.cancelled_in_words(actions.cancel_many(keys, by=by), len(keys))
