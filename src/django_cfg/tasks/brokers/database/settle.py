"""Outcomes to rows: each releases its message and stores what comes with it, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import FollowUp, Outcome, ResultEntry
from django_cfg.tasks.brokers.database.statements import READY, SCHEDULED, Statements
from django_cfg.tasks.brokers.database.transactions import Cursor
from django_cfg.tasks.brokers.endings import cancelled, ended_badly
from django_cfg.tasks.lifecycle import Kind

T = TypeVar("T")
#: So many rows are cheaper by COPY and a table between, which takes some statements.
WORTH_A_COPY = 50
#: A message id and what is kept as its result.
Ending = tuple[str, ResultEntry]
CHUNK = 200
#: Of the texts in one statement; servers refuse packets above some megabytes.
CHUNK_CHARS = 1_000_000


def accepted(outcomes: Sequence[Outcome], held: Mapping[int, int]) -> list[Outcome]:
    """The outcomes of claims that are still ours; the others went elsewhere, with a newer fence.

    Parameters:
        held: fences by the keys of the claims.
    """
    return [o for o in outcomes if held.get(o.claim.key) == o.claim.fence]


def settle(cursor: Cursor, sql: Statements, outcomes: Sequence[Outcome]) -> None:
    """Apply accepted outcomes."""
    for kind, many in ((Kind.DONE, sql.finish), (Kind.RELEASED, sql.hand_back)):
        for chunk in chunks([o.claim.key for o in outcomes if o.kind is kind]):
            cursor.later(many(len(chunk)), chunk)
    for outcome in outcomes:
        if outcome.kind is Kind.RETRY:
            cursor.later(sql.retry, [codec.encode(outcome.message), outcome.delay_ms, outcome.claim.key])
        if outcome.kind is Kind.DEAD:
            _bury(cursor, sql, outcome)


def _bury(cursor: Cursor, sql: Statements, outcome: Outcome) -> None:
    message_id, error = outcome.claim.message_id, outcome.failure.text if outcome.failure else ""
    cursor.later(sql.bury_changed, [codec.encode(outcome.message), outcome.reason, error, message_id])
    cursor.later(sql.remove, [message_id])


Row = tuple[FollowUp, str, int]


def insert(cursor: Cursor, sql: Statements, rows: Sequence[Row], *, notify: bool) -> None:
    """Store (item, body, priority) rows; an id that lives is left alone, a dead one starts anew.

    On PostgreSQL `notify` wakes waiting workers, too.
    """
    if sql.dialect.at_once:
        store = _copy if len(rows) >= WORTH_A_COPY else _insert_at_once
        store(cursor, sql, rows, notify)
        return
    for chunk in portions(rows, lambda row: row[1]):
        cursor.later(sql.forget_dead(len(chunk)), [item.message.message_id for item, _, _ in chunk])
        cursor.later(sql.insert(len(chunk)), [v for row in chunk for v in _values(*row)])


def is_one_step(sql: Statements, rows: Sequence[Row]) -> bool:
    """Whether `insert` is one statement, so a transaction by itself."""
    return sql.dialect.at_once and len(rows) < WORTH_A_COPY


def _insert_at_once(cursor: Cursor, sql: Statements, rows: Sequence[Row], notify: bool) -> None:
    ids = [item.message.message_id for item, _, _ in rows]
    values = [v for row in rows for v in _values(*row)]
    cursor.execute(sql.insert_and_forget(len(rows), notify=notify), ids + values)


def _copy(cursor: Cursor, sql: Statements, rows: Sequence[Row], notify: bool) -> None:
    cursor.execute(sql.stage)
    cursor.copy(sql.copy_to_stage, ((*_values(*row), n) for n, row in enumerate(rows)))
    cursor.execute(sql.forget_staged)
    cursor.execute(sql.insert_staged)
    cursor.execute(sql.clear_stage)
    if notify:
        cursor.execute(f"SELECT {sql.notify}")


def portions(items: Sequence[T], text_of: Callable[[T], str]) -> list[list[T]]:
    """Chunks that are bounded in their texts, too."""
    found: list[list[T]] = [[]]
    chars = 0
    for item in items:
        length = len(text_of(item))
        chars += length
        if found[-1] and (len(found[-1]) >= CHUNK or chars > CHUNK_CHARS):
            found.append([])
            chars = length
        found[-1].append(item)
    return found


def _values(item: FollowUp, body: str, priority: int) -> tuple[str | int, ...]:
    message = item.message
    state = SCHEDULED if item.delay_ms > 0 else READY
    return (
        message.message_id,
        message.queue_name,
        message.actor_name,
        priority,
        state,
        body,
        item.delay_ms,
    )


def bury_unread(cursor: Cursor, sql: Statements, message_id: str, reason: str, error: str = "") -> Ending:
    """Move a message to the dead letters as it stands; returns the word for whoever waits for its result."""
    return _buried(cursor, sql, sql.bury_as_it_is, message_id, reason, error)


def bury_killed(cursor: Cursor, sql: Statements, message_id: str, reason: str) -> Ending:
    """As `bury_unread`, for a message whose process has just died of it."""
    return _buried(cursor, sql, sql.bury_killed, message_id, reason, "")


def _buried(cursor: Cursor, sql: Statements, how: str, message_id: str, reason: str, error: str) -> Ending:
    cursor.later(how, [reason, error, message_id])
    cursor.later(sql.remove, [message_id])
    return message_id, ended_badly(reason)


def take_cancelled(cursor: Cursor, sql: Statements, message_id: str) -> Ending:
    """Remove a cancelled message; returns the word for whoever waits for its result."""
    cursor.execute(sql.body_of, [message_id])
    row = cursor.fetchone()
    cursor.later(sql.remove, [message_id])
    return message_id, cancelled(row[0] if row else "")


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
