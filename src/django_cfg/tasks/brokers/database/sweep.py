"""Sweeping: claims of sessions that are gone go back to their queues, or to the dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_cfg.tasks.brokers.contract import ProcessIdentity
from django_cfg.tasks.brokers.database.settle import bury_unread, take_cancelled
from django_cfg.tasks.brokers.database.statements import Statements
from django_cfg.tasks.brokers.process import is_alive, is_gone

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: After a longer silence of the sweeps the clock or the server stood still, and no lease can be judged.
LONGEST_GAP_MS = 15_000


def sweep(cursor: Any, sql: Statements, broker: EngineBroker, mine: ProcessIdentity) -> int:
    """Take the claims of lost sessions away; returns how many."""
    trusted = _leases_can_be_trusted(cursor, sql)
    cursor.execute(sql.sessions)
    lost = [row[0] for row in cursor.fetchall() if _is_lost(row, mine, trusted, sql.dialect.one_host)]
    taken = 0
    for session in lost:
        taken += _take_from(cursor, sql, broker, session)
        cursor.execute(sql.drop_session, [session])
    cursor.execute(sql.purge_results)
    return taken


def _leases_can_be_trusted(cursor: Any, sql: Statements) -> bool:
    """False after a pause of the server or a step of its clock; every session then gets a whole new lease."""
    cursor.execute(sql.know_sweep)
    cursor.execute(sql.note_sweep)
    previous, now = cursor.fetchone()
    if previous and 0 <= now - previous <= LONGEST_GAP_MS:
        return True
    cursor.execute(sql.grant_all)
    return False


def _is_lost(row: Any, mine: ProcessIdentity, trusted: bool, one_host: bool) -> bool:
    _, host_id, host, pid, process_started, expired = row
    theirs = ProcessIdentity(host_id, host, pid, process_started)
    if is_gone(theirs, mine):
        return True
    if one_host and theirs.host_id == mine.host_id and is_alive(theirs):
        return False
    return bool(expired) and trusted


def _take_from(cursor: Any, sql: Statements, broker: EngineBroker, session: int) -> int:
    cursor.execute(sql.claims_of_lost, [session])
    rows = cursor.fetchall()
    for message_id, task, deliveries, cancel_requested in rows:
        if cancel_requested:
            take_cancelled(cursor, sql, message_id)
        elif deliveries + 1 >= broker.max_deliveries_of(task):
            reason = f"its worker process died {deliveries + 1} times while running it"
            bury_unread(cursor, sql, message_id, reason)
        else:
            cursor.execute(sql.suspect, [message_id])
    return len(rows)
