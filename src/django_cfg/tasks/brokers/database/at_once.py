"""A whole exchange in one statement, for databases whose statements may change several tables: PostgreSQL.

It settles what simply ended well, with results, and claims. Retries, dead letters, what is given back and messages
that outcomes bring along are rarer, and take the transaction of several statements that every database has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Outcome, Want
from django_cfg.tasks.brokers.database.statements import READY, SCHEDULED, SUSPECT, Statements
from django_cfg.tasks.brokers.database.transactions import Cursor
from django_cfg.tasks.lifecycle import Kind

#: JSON has it nowhere as it is.
BETWEEN_TEXTS = "\x1f"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the statement brought: rows of claims, and what else an exchange wants to know."""

    rows: list[Any]
    refused: list[int]
    paused: list[str]
    revoked: list[str]
    next_due_ms: int | None


def is_simple(outcomes: Sequence[Outcome]) -> bool:
    """Whether one statement can settle them."""
    return all(o.kind is Kind.DONE and not o.follow_ups for o in outcomes)


def exchange(
    cursor: Cursor, sql: Statements, session: int, seq: int, outcomes: Sequence[Outcome], want: Want
) -> Reply | None:
    """Settle and claim; None when the session is gone or the number was answered before, and then nothing is done."""
    start = seq % len(want.queues) if want.queues else 0
    queues = want.queues[start:] + want.queues[:start]
    keys, fences = _array(o.claim.key for o in outcomes), _array(o.claim.fence for o in outcomes)
    kept = [o for o in outcomes if o.result is not None]
    results = _results(kept) if kept else []
    share = -(-want.count // max(1, len(queues)))
    cursor.execute(
        statement(sql, with_results=bool(kept)),
        [session, seq, keys, fences, seq, *results, list(queues), want.suspect, share, want.count, seq],
    )
    return _read(cursor.fetchall())


def _array(numbers: Any) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _results(outcomes: Sequence[Outcome]) -> list[str]:
    """Keys, texts and times to live. The texts as one, which the server takes apart in a fifth of the time of JSON."""
    entries = [o.result for o in outcomes if o.result is not None]
    texts = BETWEEN_TEXTS.join(entry.text for entry in entries)
    return [_array(o.claim.key for o in outcomes), texts, _array(round(entry.ttl_ms) for entry in entries)]


def _read(rows: list[Any]) -> Reply | None:
    """The one row without a key carries the rest of the answer as JSON."""
    if not rows:
        return None
    rest = codec.loads(next(row[3] for row in rows if row[0] == 0))
    claims = sorted((row for row in rows if row[0] != 0), key=lambda row: (row[2], row[0]))
    return Reply(claims, rest["refused"], rest["paused"] or [], rest["revoked"] or [], rest["due"])


def statement(sql: Statements, *, with_results: bool) -> str:
    """One statement: everything in it sees the same moment, and all of it happens or nothing."""
    steps = [*_settle(sql), *([_keep_results(sql)] if with_results else []), *_claim(sql)]
    return f"WITH {', '.join(steps)} {_answer(sql)}"


def _settle(sql: Statements) -> list[str]:
    return [
        # Without this row nothing below finds anything to do.
        f"mine AS (SELECT id FROM {sql.session} WHERE id = %s::bigint AND last_seq < %s::bigint FOR UPDATE)",
        "given AS (SELECT * FROM unnest(%s::bigint[], %s::int[]) AS g(id, fence))",
        # `coalesce` keeps the planner from the index of sessions, which is full of what this session had before.
        f"done AS (DELETE FROM {sql.message} m USING given g, mine "
        "WHERE m.id = g.id AND m.fence = g.fence AND coalesce(m.session, 0) = mine.id RETURNING m.id, m.message_id)",
        "refused AS (SELECT CASE WHEN (SELECT count(*) FROM done) = (SELECT count(*) FROM given) THEN '[]' ELSE "
        "(SELECT json_agg(g.id) FROM given g WHERE g.id NOT IN (SELECT id FROM done)) END AS ids)",
        f"advanced AS (UPDATE {sql.session} s SET lease_until = {sql.now} + lease_ms, last_seq = %s::bigint, "
        "last_refused = refused.ids::text FROM mine, refused WHERE s.id = mine.id)",
    ]


def _keep_results(sql: Statements) -> str:
    return (
        f"kept AS (INSERT INTO {sql.result} (message_id, body, expires_at) SELECT done.message_id, r.b, "
        f"{sql.now} + r.t FROM unnest(%s::bigint[], string_to_array(%s, chr({ord(BETWEEN_TEXTS)})), %s::bigint[]) "
        "AS r(k, b, t) JOIN done ON done.id = r.k "
        f"{sql.dialect.replace('message_id', ('body', 'expires_at'))})"
    )


def _claim(sql: Statements) -> list[str]:
    """At most one suspect, then a fair share of each queue; the outer LIMIT takes no more locks than rows."""
    suspect = (
        f"SELECT m.id FROM {sql.message} m WHERE m.state = {SUSPECT} AND m.queue IN (SELECT queue FROM open_queue "
        "WHERE %s::boolean) ORDER BY m.priority, m.id LIMIT 1 FOR UPDATE OF m SKIP LOCKED"
    )
    ready = (
        f"SELECT m.id FROM {sql.message} m WHERE m.state = {READY} AND m.queue = o.queue "
        "ORDER BY m.priority, m.id LIMIT %s::bigint FOR UPDATE OF m SKIP LOCKED"
    )
    return [
        "open_queue AS (SELECT u.queue FROM mine, unnest(%s::text[]) AS u(queue) "
        f"WHERE u.queue NOT IN (SELECT queue FROM {sql.paused}))",
        f"picked AS (SELECT id FROM (SELECT s.id FROM ({suspect}) s UNION ALL "
        f"SELECT r.id FROM open_queue o CROSS JOIN LATERAL ({ready}) r) c LIMIT %s::bigint)",
        f"taken AS (UPDATE {sql.message} m SET {sql.claimed_by('mine.id', '%s::bigint')} FROM picked, mine "
        f"WHERE m.id = picked.id RETURNING {sql.claim_columns('m.')})",
    ]


def _answer(sql: Statements) -> str:
    due = (
        f"SELECT min(d.due_at) - {sql.now} FROM open_queue o CROSS JOIN LATERAL (SELECT due_at FROM {sql.message} m "
        f"WHERE m.state = {SCHEDULED} AND m.queue = o.queue ORDER BY due_at LIMIT 1) d"
    )
    revoked = f"SELECT json_agg(message_id) FROM {sql.message} m WHERE m.session = mine.id AND m.cancel_requested"
    rest = (
        f"json_build_object('refused', refused.ids, 'paused', (SELECT json_agg(queue) FROM {sql.paused}), "
        f"'revoked', ({revoked}), 'due', ({due}))"
    )
    return (
        f"SELECT 0::bigint, '', 0, {rest}::text, 0::bigint, 0::bigint, 0::bigint, 0, 0, false, 0::bigint "
        "FROM mine, refused UNION ALL SELECT * FROM taken"
    )
