"""The rows of schedules and ticks: where they live, whose clock counts, and how a change becomes known."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from django.db.models import F
from dramatiq import Message

from django_cfg.tasks.brokers.actor import EngineActor
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.collector import PIPELINE_STEP
from django_cfg.tasks.brokers.database.dialect import dialect_of
from django_cfg.tasks.brokers.endings import ending
from django_cfg.tasks.brokers.outbox.look import find
from django_cfg.tasks.cron.entry import Entry, read
from django_cfg.tasks.models import EngineState, Schedule, TaskRecord, Tick
from django_cfg.tasks.models.schedule import Source
from django_cfg.units import MS_PER_S, days_to_ms

STATE = "schedules"
NAMESPACE = uuid.UUID("6f1c2f6e-5b0e-4b1c-9a55-6f1f5d6c5a10")
#: What deciding ticks changes in a schedule.
CHANGED = ("settled_at", "last_message_id", "last_nominal_at", "buffered_at")
#: PostgreSQL ends the transaction of a scheduler that was stopped in the middle of one, so that others go on.
STOPPED_AFTER = "5s"


def alias_of(broker: EngineBroker) -> str:
    """The database of the schedules: a database broker's own, so that a tick and its message are one transaction.

    With another broker the message is an outbox row in that transaction.
    """
    return broker.transaction_alias or broker.settings.records_database


def is_held(broker: EngineBroker, alias: str, message_id: str, sent_ms: int) -> bool:
    """Whether a message waits, runs, will be retried or is on its way to the broker.

    Parameters:
        sent_ms: about when it was enqueued.
    """
    if broker.holds(message_id) if broker.supports_find else _has_no_end(broker, message_id, sent_ms):
        return True
    return broker.transaction_alias is None and find(message_id, [alias]) is not None


def _has_no_end(broker: EngineBroker, message_id: str, sent_ms: int) -> bool:
    """Where messages are not found by their ids, what is kept as the result of a tick tells that it has ended."""
    found, value = broker.load_result(message_id)
    is_forgotten = time.time() * MS_PER_S - sent_ms > _result_ttl_ms(broker)
    return not is_forgotten and not (found and ending(value))


def _result_ttl_ms(broker: EngineBroker) -> int:
    return days_to_ms(broker.settings.result_ttl_days)


def glance(alias: str) -> tuple[int, int]:
    """The revision of the newest change, and milliseconds since 1970 by the database's clock."""
    connection = connections[alias]
    now = dialect_of(connection.vendor, alias).now
    table = EngineState._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COALESCE((SELECT value FROM {table} WHERE name = %s), 0), {now}", [STATE])
        revision, now_ms = cursor.fetchone()
    connection.close_at = None  # asked every second, it would reconnect every second with CONN_MAX_AGE=0
    return int(revision), int(now_ms)


@contextmanager
def changing(alias: str) -> Iterator[int]:
    """A transaction whose changes schedulers learn of; gives the revision to write into changed rows."""
    EngineState.objects.using(alias).get_or_create(name=STATE)
    with deciding(alias):
        EngineState.objects.using(alias).filter(name=STATE).update(value=F("value") + 1)
        yield EngineState.objects.using(alias).get(name=STATE).value


@contextmanager
def deciding(alias: str) -> Iterator[None]:
    """A transaction that ends soon, even if this process is stopped in it."""
    with transaction.atomic(using=alias):
        if connections[alias].vendor == "postgresql":
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [STOPPED_AFTER])
        yield


def locked(alias: str, names: Iterable[str]) -> list[Schedule]:
    """Rows in one order for everybody, locked until the end of the transaction."""
    return list(Schedule.objects.using(alias).select_for_update().filter(name__in=list(names)).order_by("id"))


def effective(row: Schedule, code: Entry | None) -> Entry | None:
    """The schedule as it applies: what the code says, with what an operator changed; None: the code has it no more.

    Raises:
        CronError: the stored keys are wrong.
    """
    if row.source == Source.ADMIN:
        return read(row.definition, f"schedule {row.name!r}")
    if code is None or not row.override:
        return code
    return read(merged(code.written(), row.override), f"schedule {row.name!r}")


def merged(written: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """The keys together; a cron expression replaces an interval and the other way round."""
    kept = dict(written)
    if override.get("cron"):
        kept.pop("every_s", None)
    if override.get("every_s"):
        kept.pop("cron", None)
    return {**kept, **override}


def message_for(broker: EngineBroker, entry: Entry, nominal_ms: int, message_id: str) -> Message[Any]:
    """The message of a tick; it carries the name of its schedule and its nominal time."""
    actor = broker.actors.get(entry.actor_name)
    own = actor.tick_options() if isinstance(actor, EngineActor) else {}
    return Message(
        queue_name=entry.queue or (actor.queue_name if actor is not None else "default"),
        actor_name=entry.actor_name,
        args=entry.args,
        kwargs=entry.kwargs,
        options={
            **own,
            "schedule": entry.name,
            "nominal_at": nominal_ms,
            **_with_its_row(broker),
            **_with_a_result(broker),
        },
        message_id=message_id,
    )


def _with_its_row(broker: EngineBroker) -> dict[str, bool]:
    """A task that asks to be sent before the commit still belongs to its tick."""
    return {} if broker.transaction_alias else {"enqueue_on_commit": True}


def _with_a_result(broker: EngineBroker) -> dict[str, Any]:
    """Where nothing else tells the end of a run, also a None is kept."""
    if broker.supports_find:
        return {}
    return {"store_results": True, PIPELINE_STEP: True, "result_ttl": _result_ttl_ms(broker)}


def id_of(name: str, nominal_ms: int) -> str:
    """The message id of a tick: always the same one."""
    return str(uuid.uuid5(NAMESPACE, f"{name} {nominal_ms}"))


def names(alias: str) -> set[str]:
    """Every schedule that has a row."""
    return set(Schedule.objects.using(alias).values_list("name", flat=True))


def recorded_states(broker: EngineBroker, message_ids: Sequence[str]) -> dict[str, str]:
    """What the records say about messages; those that were not recorded are left out."""
    records = TaskRecord.objects.using(broker.settings.records_database).filter(message_id__in=message_ids)
    return dict(records.values_list("message_id", "state"))


def add(alias: str, ticks: Sequence[Tick]) -> None:
    """Write ticks.

    Raises:
        IntegrityError: one of them is decided already.
    """
    Tick.objects.using(alias).bulk_create(ticks)


def update(alias: str, rows: Sequence[Schedule]) -> None:
    """Write what deciding ticks changes in schedules, whose rows are locked.

    One plain statement for each: a `bulk_update` spends 1.5 ms on building the CASE of every row.
    """
    columns = ", ".join(f"{name} = %s" for name in CHANGED)
    values = [[*(getattr(row, name) for name in CHANGED), row.pk] for row in rows]
    with connections[alias].cursor() as cursor:
        cursor.executemany(f"UPDATE {Schedule._meta.db_table} SET {columns} WHERE id = %s", values)
