"""Rows to claims: what may run now goes to the asking session, fairly among its queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, Want
from django_cfg.tasks.brokers.database.settle import Ending, bury_unread
from django_cfg.tasks.brokers.database.statements import READY, SUSPECT, Statements
from django_cfg.tasks.brokers.prepare import claimable

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker


def promote_due(cursor: Any, sql: Statements, queues: Sequence[str]) -> int | None:
    """Make due messages ready; returns the milliseconds until the next one, None if there is none."""
    if not queues:
        return None
    cursor.execute(sql.next_due(len(queues)), list(queues))
    left: int | None = cursor.fetchone()[0]
    if left is None or left > 0:
        return left
    cursor.execute(sql.promote(len(queues)), list(queues))
    cursor.execute(sql.next_due(len(queues)), list(queues))
    later: int | None = cursor.fetchone()[0]
    return later


def claim_rows(cursor: Any, sql: Statements, session: int, seq: int, want: Want) -> list[Any]:
    """Claim up to `want.count` rows: at most one suspect, then a fair share of each queue, then the rest."""
    rows: list[Any] = []
    if want.count <= 0 or not want.queues:
        return rows
    if want.suspect:
        rows += _take(cursor, sql, session, seq, (SUSPECT, want.queues, 1))
    start = seq % len(want.queues)
    order = want.queues[start:] + want.queues[:start]
    for share in (-(-want.count // len(order)), want.count):
        for queue in order:
            left = min(share, want.count - len(rows))
            if left > 0:
                rows += _take(cursor, sql, session, seq, (READY, (queue,), left))
        if len(rows) >= want.count or len(order) == 1:
            break
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _take(cursor: Any, sql: Statements, session: int, seq: int, what: tuple[int, Sequence[str], int]) -> list[Any]:
    state, queues, count = what
    cursor.execute(sql.claim(state, len(queues)), [session, seq, *queues, count])
    return list(cursor.fetchall())


def read_claims(
    cursor: Any, sql: Statements, broker: EngineBroker, rows: Iterable[Any]
) -> tuple[tuple[Claim, ...], list[Ending]]:
    """Claims from rows, and the endings of what cannot be read: that is buried, so that it harms nobody else."""
    claims: list[Claim] = []
    endings: list[Ending] = []
    for _, message_id, priority, body, enqueued_at, due_at, generation, fence, deliveries, now in rows:
        try:
            message = codec.decode(body)
        except ValueError as error:
            endings.append(bury_unread(cursor, sql, message_id, "undecodable message", str(error)))
            continue
        claims.append(
            Claim(
                message=claimable(broker, message.copy(message_id=message_id)),
                fence=fence,
                deliveries=deliveries,
                generation=generation,
                priority=priority,
                enqueued_at_ms=enqueued_at,
                waited_ms=max(0, now - due_at),
                age_ms=max(0, now - enqueued_at),
                body=body,
            )
        )
    return tuple(claims), endings
