"""Rows to claims: what may run now goes to the asking session, fairly among its queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, Want
from django_cfg.tasks.brokers.database.settle import Ending, bury_unread, take_cancelled
from django_cfg.tasks.brokers.database.statements import READY, SUSPECT, Statements
from django_cfg.tasks.brokers.database.transactions import Cursor
from django_cfg.tasks.brokers.prepare import claimable

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: In one statement; databases limit how many SELECTs may be joined in one.
MOST_QUEUES = 100


@dataclass(slots=True)
class Glance:
    """What an exchange knows before it settles and claims.

    `held` has fences by key; `due_ms`, `suspect` and `ready` are by queue.
    """

    paused: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    held: dict[int, int] = field(default_factory=dict)
    due_ms: dict[str, int] = field(default_factory=dict)
    suspect: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)

    def read(self, rows: Iterable[tuple[str, str, int, int]]) -> None:
        for what, name, number, fence in rows:
            if what == "held":
                self.held[number] = fence
            elif what == "due":
                self.due_ms[name] = number
            else:
                names: set[str] = getattr(self, what)
                names.add(name)

    @property
    def next_due_ms(self) -> int | None:
        """Until the next message of a queue that is not paused is due."""
        return min((ms for queue, ms in self.due_ms.items() if queue not in self.paused), default=None)

    @property
    def has_work(self) -> bool:
        return bool((self.ready | self.suspect) - self.paused)


def glance(cursor: Cursor, sql: Statements, session: int, queues: Sequence[str], keys: Sequence[int]) -> Glance:
    """Look at the wanted queues, and at these claims of the session."""
    found = Glance()
    for first in range(0, max(1, len(queues)), MOST_QUEUES):
        some = queues[first : first + MOST_QUEUES]
        mine = [session, *keys] if keys else []
        cursor.execute(sql.glance(len(some), len(keys)), [session, *mine, *(q for q in some for _ in range(2))])
        found.read(cursor.fetchall())
    return found


def look(cursor: Cursor, sql: Statements, queues: Sequence[str]) -> Glance:
    """Whether a waiting worker has something to do; writes nothing."""
    found = Glance()
    for first in range(0, len(queues), MOST_QUEUES):
        some = queues[first : first + MOST_QUEUES]
        cursor.execute(sql.has_work(len(some)), [queue for queue in some for _ in range(3)])
        found.read(cursor.fetchall())
    return found


def promote(cursor: Cursor, sql: Statements, queues: Sequence[str]) -> None:
    """Make what is due ready."""
    cursor.execute(sql.due(len(queues)), queues)
    due = [row[0] for row in cursor.fetchall()]
    if due:
        cursor.later(sql.promote(len(due)), due)


def claim_rows(cursor: Cursor, sql: Statements, session: int, seq: int, want: Want) -> list[Any]:
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
    cursor: Cursor, sql: Statements, session: int, seq: int, what: tuple[str, int, Want], rows: list[Any]
) -> bool:
    """Add one queue's share to the rows; returns whether it may have more."""
    queue, share, want = what
    asked = min(share, want.count - len(rows))
    if asked <= 0:
        return False
    taken = _take(cursor, sql, session, seq, (READY, (queue,), asked))
    rows += taken
    return len(taken) == asked


def _take(cursor: Cursor, sql: Statements, session: int, seq: int, what: tuple[int, Sequence[str], int]) -> list[Any]:
    state, queues, count = what
    if sql.dialect.has_returning:
        cursor.execute(sql.claim(state, len(queues)), [session, seq, *queues, count])
        return cursor.fetchall()
    cursor.execute(sql.claim(state, len(queues)), [*queues, count])
    rows = cursor.fetchall()
    if rows:
        cursor.later(sql.take(len(rows)), [session, seq, *(row[0] for row in rows)])
    return rows


@dataclass(frozen=True, slots=True)
class Unfit:
    """A claimed message that must not run: cancelled while another worker had it, or not readable."""

    message_id: str
    error: str = ""


def read_claims(broker: EngineBroker, rows: Iterable[Any]) -> tuple[tuple[Claim, ...], list[Unfit]]:
    """Claims from rows, and what must not run."""
    claims: list[Claim] = []
    unfit: list[Unfit] = []
    for row in rows:
        try:
            if row[9]:
                unfit.append(Unfit(row[1]))
            else:
                claims.append(_claim(broker, row))
        except ValueError as error:
            unfit.append(Unfit(row[1], str(error)))
    return tuple(claims), unfit


def drop(cursor: Cursor, sql: Statements, unfit: Iterable[Unfit]) -> list[Ending]:
    """Take away what was cancelled, and bury what cannot be read, so that it harms nobody else."""
    return [
        bury_unread(cursor, sql, one.message_id, "undecodable message", one.error)
        if one.error
        else take_cancelled(cursor, sql, one.message_id)
        for one in unfit
    ]


def _claim(broker: EngineBroker, row: Any) -> Claim:
    key, message_id, priority, body, enqueued_at, due_at, generation, fence, deliveries, _, now = row
    message = codec.decode(body)
    if message.message_id != message_id:  # the row is right; a copy of each message would cost as much as its JSON
        message = message.copy(message_id=message_id)
    return Claim(
        message=claimable(broker, message),
        fence=fence,
        deliveries=deliveries,
        generation=generation,
        priority=priority,
        enqueued_at_ms=enqueued_at,
        waited_ms=max(0, now - due_at),
        age_ms=max(0, now - enqueued_at),
        body=body,
        key=key,
    )
