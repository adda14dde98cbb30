"""Rows to claims: what may run now goes to the asking session, fairly among its queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, Want
from django_cfg.tasks.brokers.database.settle import Ending, bury_unread
from django_cfg.tasks.brokers.database.statements import READY, SUSPECT, Statements
from django_cfg.tasks.brokers.prepare import claimable

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker


@dataclass(frozen=True, slots=True)
class Glance:
    """What an exchange knows before it claims."""

    paused: frozenset[str]
    revoked: frozenset[str]
    next_due_ms: int | None
    has_suspect: bool


def glance(cursor: Any, sql: Statements, session: int, queues: Sequence[str]) -> Glance:
    """Look at the wanted queues in one statement."""
    cursor.execute(sql.glance(len(queues)), [session, *queues, *queues])
    found: dict[str, list[tuple[str, int]]] = {"paused": [], "revoked": [], "due": [], "suspect": []}
    for what, name, number in cursor.fetchall():
        found[what].append((name, number))
    return Glance(
        paused=frozenset(name for name, _ in found["paused"]),
        revoked=frozenset(name for name, _ in found["revoked"]),
        next_due_ms=found["due"][0][1] if found["due"] else None,
        has_suspect=bool(found["suspect"]),
    )


def promote(cursor: Any, sql: Statements, session: int, queues: Sequence[str]) -> Glance:
    """Make what is due ready, and look again."""
    cursor.execute(sql.promote(len(queues)), list(queues))
    return glance(cursor, sql, session, queues)


def claim_rows(cursor: Any, sql: Statements, session: int, seq: int, want: Want) -> list[Any]:
    """Claim up to `want.count` rows: at most one suspect, then a fair share of each queue, then the rest."""
    rows: list[Any] = []
    if want.count <= 0 or not want.queues:
        return rows
    if want.suspect:
        rows += _take(cursor, sql, session, seq, (SUSPECT, want.queues, 1))
    start = seq % len(want.queues)
    order = want.queues[start:] + want.queues[:start]
    share = -(-want.count // len(order))
    while order and len(rows) < want.count:
        # A queue that gave less than it was asked for has no more; only the others are asked again.
        order = tuple(queue for queue in order if _claim_share(cursor, sql, session, seq, (queue, share, want), rows))
        share = want.count
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _claim_share(
    cursor: Any, sql: Statements, session: int, seq: int, what: tuple[str, int, Want], rows: list[Any]
) -> bool:
    """Add one queue's share to the rows; returns whether it may have more."""
    queue, share, want = what
    asked = min(share, want.count - len(rows))
    if asked <= 0:
        return False
    taken = _take(cursor, sql, session, seq, (READY, (queue,), asked))
    rows += taken
    return len(taken) == asked


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
