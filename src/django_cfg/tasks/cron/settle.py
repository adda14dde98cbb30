"""Decides the due ticks of some schedules in one transaction: the tick's row and its message, both or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError
from dramatiq import Message
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerUnreachable, CronError, TaskError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.cron.plan import Gap, Plan, plan
from django_cfg.tasks.models import Schedule, Tick
from django_cfg.tasks.models.tick import PingState, TickKind, TickState

logger = get_logger(__name__)


@dataclass
class Batch:
    """What one transaction will write."""

    broker: EngineBroker
    now_ms: int
    ticks: list[Tick] = field(default_factory=list)
    messages: list[Message[Any]] = field(default_factory=list)
    rows: list[Schedule] = field(default_factory=list)


def settle(
    broker: EngineBroker, alias: str, code: Mapping[str, Entry], names: Sequence[str], now_ms: int
) -> dict[str, int]:
    """Decide all due ticks of these schedules; returns up to which nominal time each of them is decided.

    Parameters:
        code: what the code declares, by name.
        now_ms: the moment by the database's clock.

    Raises:
        BrokerUnreachable: not all of them could be decided; those are due as before.
    """
    try:
        return _together(broker, alias, code, names, now_ms)
    except (IntegrityError, TaskError, CronError):
        settled: dict[str, int] = {}
        for name in names:
            settled |= _alone(broker, alias, code, name, now_ms)
        return settled
    except BrokerUnreachable:
        # Some have to ask it whether their last run has ended. The others need not wait for that.
        for name in names if len(names) > 1 else ():
            with suppress(BrokerUnreachable):
                settle(broker, alias, code, [name], now_ms)
        raise


def _together(
    broker: EngineBroker, alias: str, code: Mapping[str, Entry], names: Sequence[str], now_ms: int
) -> dict[str, int]:
    batch = Batch(broker, now_ms)
    with store.deciding(alias):
        rows = store.locked(alias, names)
        for row in rows:
            entry = store.effective(row, code.get(row.name))
            if entry is not None and is_on(row, entry):
                decide(batch, row, entry, plan(entry, row.settled_at, now_ms))
        write(batch, alias)
    return {row.name: row.settled_at for row in rows}


def _alone(broker: EngineBroker, alias: str, code: Mapping[str, Entry], name: str, now_ms: int) -> dict[str, int]:
    """One schedule that may be the cause of the failure: its ticks become visible instead of coming again for ever."""
    try:
        return _together(broker, alias, code, [name], now_ms)
    except (IntegrityError, TaskError, CronError) as error:
        logger.error("Schedule %s: its tick was not enqueued: %s", name, error)
        return _refuse(alias, code, name, now_ms, str(error))


def _refuse(alias: str, code: Mapping[str, Entry], name: str, now_ms: int, reason: str) -> dict[str, int]:
    with store.deciding(alias):
        for row in store.locked(alias, [name]):
            row.settled_at = max(row.settled_at, now_ms)
            row.save(using=alias, update_fields=["settled_at"])
            gap = Gap(now_ms, now_ms, 1)
            ticks = [_gap_tick(row, gap, TickState.REFUSED, reason, now_ms)]
            Tick.objects.using(alias).bulk_create(ticks, ignore_conflicts=True)
            return {name: row.settled_at}
    return {}


def is_on(row: Schedule, entry: Entry) -> bool:
    """Whether its ticks are enqueued."""
    return entry.enabled and row.paused_at is None


def decide(batch: Batch, row: Schedule, entry: Entry, planned: Plan) -> None:
    """Add what becomes of one schedule's due times; its row is locked."""
    if planned.missed is not None:
        batch.ticks.append(_gap_tick(row, planned.missed, TickState.MISSED, "no scheduler ran", batch.now_ms))
    for nominal_ms in planned.enqueue:
        _tick(batch, row, entry, nominal_ms)
    row.settled_at = planned.settled_ms
    batch.rows.append(row)


def _tick(batch: Batch, row: Schedule, entry: Entry, nominal_ms: int) -> None:
    if entry.overlap == "allow" or not is_running(batch, row):
        enqueue(batch, row, entry, nominal_ms)
    elif entry.overlap == "cancel_other":
        batch.broker.cancel(row.last_message_id)
        enqueue(batch, row, entry, nominal_ms)
    elif entry.overlap == "buffer_one" and row.buffered_at is None:
        row.buffered_at = nominal_ms
        batch.ticks.append(_due(batch, row, nominal_ms, TickState.BUFFERED, "the run before has not ended"))
    else:
        batch.ticks.append(_due(batch, row, nominal_ms, TickState.SKIPPED, "the run before has not ended"))


def is_running(batch: Batch, row: Schedule) -> bool:
    """Whether the last run of a schedule waits, runs or will be retried."""
    if not row.last_message_id:
        return False
    new = any(message.message_id == row.last_message_id for message in batch.messages)
    sent_ms = row.last_nominal_at or batch.now_ms
    return new or store.is_held(batch.broker, store.alias_of(batch.broker), row.last_message_id, sent_ms)


def enqueue(batch: Batch, row: Schedule, entry: Entry, nominal_ms: int, kind: TickKind = TickKind.DUE) -> None:
    """Add a message and the row of its tick."""
    message_id = store.id_of(f"{row.name} {kind}" if kind is TickKind.MANUAL else row.name, nominal_ms)
    tick = _due(batch, row, nominal_ms, TickState.ENQUEUED, "")
    tick.kind, tick.message_id = kind, message_id
    tick.ping = PingState.OPEN if entry.ping_url else PingState.NONE
    batch.ticks.append(tick)
    batch.messages.append(store.message_for(batch.broker, entry, nominal_ms, message_id))
    row.last_message_id, row.last_nominal_at = message_id, nominal_ms


def write(batch: Batch, alias: str) -> None:
    """Rows first: if one of them exists, somebody has enqueued its message."""
    store.add(alias, batch.ticks)
    if batch.messages:
        batch.broker.enqueue_many(batch.messages)
    if batch.rows:
        store.update(alias, batch.rows)


def _due(batch: Batch, row: Schedule, nominal_ms: int, state: TickState, reason: str) -> Tick:
    return Tick(
        schedule=row,
        nominal_at=nominal_ms,
        first_at=nominal_ms,
        state=state,
        reason=reason,
        decided_at=batch.now_ms,
    )


def _gap_tick(row: Schedule, gap: Gap, state: TickState, reason: str, now_ms: int) -> Tick:
    return Tick(
        schedule=row,
        kind=TickKind.GAP,
        nominal_at=gap.last_ms,
        first_at=gap.first_ms,
        count=gap.count,
        state=state,
        reason=reason[:500],
        decided_at=now_ms,
    )


def gap_tick(row: Schedule, gap: Gap, reason: str, now_ms: int) -> Tick:
    """The row of due times that a pause skipped."""
    return _gap_tick(row, gap, TickState.SKIPPED, reason, now_ms)


def release(broker: EngineBroker, alias: str, code: Mapping[str, Entry], name: str, now_ms: int) -> bool:
    """Enqueue the buffered tick of a schedule if the run before has ended; returns whether none waits any more."""
    batch = Batch(broker, now_ms)
    with store.deciding(alias):
        for row in store.locked(alias, [name]):
            entry = store.effective(row, code.get(row.name))
            if row.buffered_at is None or entry is None:
                return True
            if not is_on(row, entry) or is_running(batch, row):
                return False
            _unbuffer(batch, row, entry, row.buffered_at)
            broker.enqueue_many(batch.messages)
    return True


def _unbuffer(batch: Batch, row: Schedule, entry: Entry, nominal_ms: int) -> None:
    alias = str(row._state.db)
    enqueue(batch, row, entry, nominal_ms)
    new = batch.ticks[-1]
    waiting = Tick.objects.using(alias).filter(schedule=row, kind=TickKind.DUE, nominal_at=nominal_ms)
    waiting.update(state=new.state, reason="", message_id=new.message_id, ping=new.ping, decided_at=batch.now_ms)
    row.buffered_at = None
    row.save(using=alias, update_fields=store.CHANGED)
