"""Sweeping: claims of sessions that are gone go back to their queues, or to the dead letters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_cfg.tasks.brokers.contract import ProcessIdentity
from django_cfg.tasks.brokers.database.settle import Ending, bury_killed, take_cancelled
from django_cfg.tasks.brokers.database.statements import Statements
from django_cfg.tasks.brokers.database.transactions import Cursor
from django_cfg.tasks.brokers.endings import died_with_its_process, lost_for_good
from django_cfg.tasks.brokers.process import is_alive, is_gone, is_stopped
from django_cfg.tasks.events import TaskSettled

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: After a longer silence of the sweeps the clock or the server stood still, and no lease can be judged.
LONGEST_GAP_MS = 15_000


@dataclass
class Swept:
    """What one sweep did: claims taken away, and which of their messages died of it."""

    taken: int = 0
    died: list[TaskSettled] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)


def sweep(cursor: Cursor, sql: Statements, broker: EngineBroker, mine: ProcessIdentity) -> Swept:
    """Take the claims of lost sessions away."""
    trusted = _leases_can_be_trusted(cursor, sql)
    cursor.execute(sql.sessions)
    lost = [row[0] for row in cursor.fetchall() if _is_lost(row, mine, trusted, sql.dialect.one_host)]
    swept = Swept()
    for session in lost:
        _take_from(cursor, sql, broker, session, swept)
        cursor.later(sql.drop_session, [session])
    return swept


def _leases_can_be_trusted(cursor: Cursor, sql: Statements) -> bool:
    """False after a pause of the server or a step of its clock; every session then gets a whole new lease."""
    cursor.later(sql.know_sweep)
    cursor.later(sql.note_sweep)
    cursor.execute(sql.last_sweeps)
    previous, now = cursor.fetchone()
    if previous and 0 <= now - previous <= LONGEST_GAP_MS:
        return True
    cursor.later(sql.grant_all)
    return False


def _is_lost(row: Any, mine: ProcessIdentity, trusted: bool, one_host: bool) -> bool:
    _, host_id, host, pid, process_started, expired = row
    theirs = ProcessIdentity(host_id, host, pid, process_started)
    if is_gone(theirs, mine):
        return True
    if one_host and theirs.host_id == mine.host_id and is_alive(theirs) and not is_stopped(pid):
        return False
    return bool(expired) and trusted


def _take_from(cursor: Cursor, sql: Statements, broker: EngineBroker, session: int, swept: Swept) -> None:
    cursor.execute(sql.claims_of_lost, [session])
    rows = cursor.fetchall()
    swept.taken += len(rows)
    for message_id, task, deliveries, cancel_requested, *rest in rows:
        if cancel_requested:
            swept.endings.append(take_cancelled(cursor, sql, message_id))
        elif deliveries + 1 >= broker.max_deliveries_of(task):
            reason = died_with_its_process(deliveries + 1)
            swept.endings.append(bury_killed(cursor, sql, message_id, reason))
            swept.died.append(lost_for_good(message_id, task, reason, *rest))
        else:
            cursor.later(sql.suspect, [message_id])
