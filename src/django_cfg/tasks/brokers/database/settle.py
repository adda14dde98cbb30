"""Outcomes to rows: each releases its message and stores what comes with it, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import FollowUp, Outcome, ResultEntry
from django_cfg.tasks.brokers.database.statements import READY, SCHEDULED, Statements
from django_cfg.tasks.brokers.endings import ended_badly
from django_cfg.tasks.lifecycle import Kind

T = TypeVar("T")
#: A message id and what is kept as its result.
Ending = tuple[str, ResultEntry]
CHUNK = 200


def settle(cursor: Any, sql: Statements, session: int, outcomes: Sequence[Outcome]) -> frozenset[str]:
    """Apply outcomes; returns the ids that were refused because the claim is no longer ours."""
    settled: set[str] = set()
    for kind, many in ((Kind.DONE, sql.finish), (Kind.RELEASED, sql.hand_back)):
        for chunk in chunks([o for o in outcomes if o.kind is kind]):
            pairs = [v for o in chunk for v in (o.claim.message_id, o.claim.fence)]
            cursor.execute(many(len(chunk)), [session, *pairs])
            settled.update(row[0] for row in cursor.fetchall())
    for outcome in outcomes:
        if outcome.kind is Kind.RETRY and _retry(cursor, sql, session, outcome):
            settled.add(outcome.claim.message_id)
        if outcome.kind is Kind.DEAD and _bury(cursor, sql, session, outcome):
            settled.add(outcome.claim.message_id)
    return frozenset(o.claim.message_id for o in outcomes if o.claim.message_id not in settled)


def _retry(cursor: Any, sql: Statements, session: int, outcome: Outcome) -> bool:
    claim = outcome.claim
    body = codec.encode(outcome.message)
    cursor.execute(sql.retry, [body, outcome.delay_ms, session, claim.message_id, claim.fence])
    return bool(cursor.rowcount)


def _bury(cursor: Any, sql: Statements, session: int, outcome: Outcome) -> bool:
    claim, error = outcome.claim, outcome.failure.text if outcome.failure else ""
    body = codec.encode(outcome.message)
    cursor.execute(sql.bury_claimed, [body, outcome.reason, error, session, claim.message_id, claim.fence])
    buried = cursor.fetchone() is not None
    if buried:
        cursor.execute(sql.remove, [claim.message_id])
    return buried


Row = tuple[FollowUp, str, int]


def insert(cursor: Any, sql: Statements, rows: Sequence[Row], *, notify: bool) -> None:
    """Store (item, body, priority) rows; an id that lives is left alone, a dead one starts anew.

    On PostgreSQL that is one statement for any number of rows, which also wakes waiting workers with `notify`.
    """
    if sql.dialect.has_arrays:
        columns = list(zip(*(_values(*row) for row in rows), strict=True))
        statement = sql.insert_and_notify if notify else sql.insert_silently
        cursor.execute(statement, [list(column) for column in columns] + [list(columns[0])])
        return
    for chunk in chunks(rows):
        cursor.execute(sql.forget_dead(len(chunk)), [item.message.message_id for item, _, _ in chunk])
        cursor.execute(sql.insert(len(chunk)), [v for row in chunk for v in _values(*row)])


def _values(item: FollowUp, body: str, priority: int) -> tuple[Any, ...]:
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


def bury_unread(cursor: Any, sql: Statements, message_id: str, reason: str, error: str = "") -> Ending:
    """Move a message to the dead letters as it stands; returns the word for whoever waits for its result."""
    cursor.execute(sql.bury_swept, [reason, error, message_id])
    cursor.execute(sql.remove, [message_id])
    return message_id, ended_badly(reason)


def take_cancelled(cursor: Any, sql: Statements, message_id: str) -> Ending:
    """Remove a cancelled message; returns the word for whoever waits for its result."""
    cursor.execute(sql.remove, [message_id])
    return message_id, ended_badly("cancelled by an operator")


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
