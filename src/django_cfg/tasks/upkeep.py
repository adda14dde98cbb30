"""What keeps records honest and small: they follow the broker after kills, and old ones go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from django_cfg.tasks import queries
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import (
    Attempt,
    EngineState,
    ErrorGroup,
    Grain,
    OperatorAction,
    Rollup,
    TaskRecord,
    TaskResult,
)
from django_cfg.tasks.records.filter import TaskFilter
from django_cfg.tasks.records.policy import Policy
from django_cfg.tasks.records.reading import every
from django_cfg.tasks.worker.keeper import Chore

logger = logging.getLogger(__name__)
CHUNK = 500
#: Most records that one turn, or one action of an operator, looks through.
MOST_AT_ONCE = 20_000
#: Where a count of what would go stops, for each kind of rows.
MOST_COUNTED = 100_000
#: After an operator's act only a new life of the message is newer news.
FINAL_WORD = 2**62
OPEN = (State.PENDING, State.RUNNING, State.RETRYING)
#: Longer than a lease and its sweep, so that a living worker has its say first.
QUIET = timedelta(seconds=60)
RECONCILE_EVERY_S = 60.0
PRUNE_EVERY_S = 86_400.0
#: How long rollups are kept, days; then only the coarser ones are left.
ROLLUP_DAYS = {Grain.MINUTE: 7, Grain.HOUR: 90, Grain.DAY: 3 * 365}
#: Acts of operators outlive what they acted on.
AUDIT_DAYS = 365


# -- records follow the broker -----------------------------------------------------------------------------


def reconcile(now: datetime | None = None) -> int:
    """Close records that were left open although the broker knows better; returns how many were changed."""
    before = (now or timezone.now()) - QUIET
    stale = TaskFilter(states=OPEN, before=before)
    return follow(stale, _ended) + follow(TaskFilter(states=(State.DEAD_LETTER,), before=before), _risen)


Verdict = Callable[[TaskRecord, DeadLetterInfo | None], dict[str, Any] | None]


def follow(only: TaskFilter, verdict: Verdict) -> int:
    """Ask the broker about the records that match, and write down what has changed.

    Parameters:
        verdict: from a record and its dead letter (None: there is none) to the fields to write; None: nothing.
    """
    changed = 0
    for chunk in _chunks(every(records_alias(), only)):
        letters = _letters([record.message_id for record in chunk])
        for record in chunk:
            fields = verdict(record, letters.get(record.message_id))
            changed += fields is not None and _write(record, fields)
    return changed


def _chunks(records: Iterator[TaskRecord]) -> Iterator[list[TaskRecord]]:
    for _ in range(0, MOST_AT_ONCE, CHUNK):
        chunk = [record for _, record in zip(range(CHUNK), records, strict=False)]
        if not chunk:
            return
        yield chunk


def _letters(ids: Sequence[str]) -> dict[str, DeadLetterInfo]:
    only = DeadFilter(message_ids=tuple(ids))
    return {letter.message_id: letter for broker in queries.brokers() for letter in broker.dead_letters(only, len(ids))}


def _holds(message_id: str) -> bool | None:
    """Whether a broker of this project still has a message; None: none says so, and one of them could not."""
    brokers = queries.brokers()
    if any(broker.supports_find and broker.holds(message_id) for broker in brokers):
        return True
    return False if all(broker.supports_find for broker in brokers) else None


def _write(record: TaskRecord, fields: dict[str, Any]) -> bool:
    """Only if nobody wrote since it was read."""
    rows = TaskRecord.objects.using(records_alias()).filter(
        message_id=record.message_id, generation=record.generation, order_key=record.order_key
    )
    if not fields:
        return bool(rows.delete()[0])
    return bool(rows.update(**fields, updated_at=timezone.now()))


def _ended(record: TaskRecord, letter: DeadLetterInfo | None) -> dict[str, Any] | None:
    """An open record: still held, dead, or ended while its last word was lost with its worker."""
    now = timezone.now()
    if letter is not None:
        told = {"reason": letter.reason, "error": letter.error}
        return {"state": State.DEAD_LETTER.value, "finished_at": now, "order_key": FINAL_WORD, **told}
    if _holds(record.message_id) is not False:
        return None
    reason = "it has ended; the record of its end was lost"
    return {"state": State.COMPLETED.value, "finished_at": now, "order_key": FINAL_WORD, "reason": reason}


def _risen(record: TaskRecord, letter: DeadLetterInfo | None) -> dict[str, Any] | None:
    """A dead letter that is gone: it runs again, or it was cleared and its record goes too."""
    is_held = None if letter is not None else _holds(record.message_id)
    if is_held is None:
        return None
    return dict(RISEN) if is_held else {}


RISEN: dict[str, Any] = {
    "state": State.PENDING.value,
    "finished_at": None,
    "order_key": FINAL_WORD,
    "reason": "retried by an operator",
}


def after_retry(only: DeadFilter) -> None:
    """Dead letters were moved back: their records say so at once."""
    follow(_same(only), lambda record, letter: dict(RISEN) if letter is None else None)


def after_clear(only: DeadFilter) -> None:
    """Dead letters were deleted, and their records with them."""
    follow(_same(only), lambda record, letter: {} if letter is None else None)


def after_cancel(message_id: str, *, may_run: bool = False) -> None:
    """A waiting message was taken away; it has a record if an earlier attempt failed.

    Parameters:
        may_run: the broker could not say whether it waited, so what a worker says of it counts.
    """
    now = timezone.now()
    states = [state.value for state in OPEN if not (may_run and state is State.RUNNING)]
    last_word = {} if may_run else {"order_key": FINAL_WORD}
    rows = TaskRecord.objects.using(records_alias()).filter(message_id=message_id, state__in=states)
    rows.update(state=State.CANCELLED.value, finished_at=now, updated_at=now, **last_word)


def _same(only: DeadFilter) -> TaskFilter:
    """At least what a filter of dead letters means: the broker has the last word on each."""
    return TaskFilter(
        states=(State.DEAD_LETTER,),
        queues=(only.queue,) if only.queue else (),
        tasks=(only.task,) if only.task else (),
        ids=only.message_ids,
    )


# -- old rows go -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, or would go."""

    records: int
    attempts: int
    results: int
    rollups: int
    failures: int
    operator_actions: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def prune(older_than_days: float | None = None, *, dry_run: bool = False, now: datetime | None = None) -> Pruned:
    """Delete what is kept no longer, in chunks by key, so that no lock is long. Dead letters and their records stay.

    Parameters:
        older_than_days: age of records and attempts; None: `record_retention_days`.
        dry_run: only count, up to 100 000 of each kind.
    """
    now = now or timezone.now()
    settings = queries.broker().settings
    alias = settings.records_database
    days = settings.record_retention_days if older_than_days is None else older_than_days
    before = now - timedelta(days=days)
    go = _count if dry_run else _delete
    return Pruned(
        records=sum(go(_records(alias, state, before)) for state in State if state is not State.DEAD_LETTER),
        attempts=go(_attempts(alias, before)),
        results=go(_results(alias, now)),
        rollups=sum(go(_rollups(alias, grain, now)) for grain in Grain),
        failures=go(ErrorGroup.objects.using(alias).filter(last_seen__lt=before).order_by("last_seen")),
        operator_actions=go(_oldest(OperatorAction, alias).filter(at__lt=now - timedelta(days=AUDIT_DAYS))),
    )


def _records(alias: str, state: State, before: datetime) -> QuerySet[TaskRecord]:
    return TaskRecord.objects.using(alias).filter(state=state.value, updated_at__lt=before).order_by("updated_at")


def _attempts(alias: str, before: datetime) -> QuerySet[Attempt]:
    """By the key up to the first that is younger: attempts are written in the order of their time."""
    younger = _oldest(Attempt, alias).filter(ended_at__gte=before).values_list("id", flat=True).first()
    rows = _oldest(Attempt, alias)
    return rows if younger is None else rows.filter(id__lt=younger)


def _oldest(model: Any, alias: str) -> QuerySet[Any]:
    found: QuerySet[Any] = model.objects.using(alias).order_by("id")
    return found


def _results(alias: str, now: datetime) -> QuerySet[TaskResult]:
    expired = round(now.timestamp() * 1000)
    return TaskResult.objects.using(alias).filter(expires_at__lt=expired).order_by("expires_at")


def _rollups(alias: str, grain: Grain, now: datetime) -> QuerySet[Rollup]:
    before = now - timedelta(days=ROLLUP_DAYS[grain])
    return Rollup.objects.using(alias).filter(grain=grain, starts_at__lt=before).order_by("starts_at")


def _count(rows: QuerySet[Any]) -> int:
    """Along an index and not for ever: who asks wants to know about how many."""
    return rows[:MOST_COUNTED].count()


def _delete(rows: QuerySet[Any]) -> int:
    """Chunk by chunk, each a transaction of its own."""
    model: type[Model] = rows.model
    gone = 0
    while keys := list(rows.values_list("pk", flat=True)[:CHUNK]):
        chosen: QuerySet[Any] = model._default_manager.using(rows.db).filter(pk__in=keys)
        gone += chosen._raw_delete(rows.db) or 0
    return gone


# -- chores ------------------------------------------------------------------------------------------------


def chores() -> list[Chore]:
    """What the keeper does for the records of this project."""
    if queries.policy() is Policy.OFF:
        return [Chore("prune", _prune_daily)]
    return [Chore("reconcile", _reconcile), Chore("prune", _prune_daily)]


def _reconcile() -> float:
    changed = reconcile()
    if changed:
        logger.info("%d records followed the broker.", changed)
    return RECONCILE_EVERY_S


def _prune_daily() -> float:
    """Once a day for all hosts together: whoever sets the mark first does it."""
    if _is_mine(datetime.now(UTC)):
        pruned = prune()
        logger.info("Pruned %d rows: %s.", pruned.total, asdict(pruned))
    return 3600.0


def _is_mine(now: datetime) -> bool:
    states = EngineState.objects.using(records_alias())
    states.get_or_create(name="pruned_on_day")
    today = int(now.timestamp() // PRUNE_EVERY_S)
    return bool(states.filter(name="pruned_on_day", value__lt=today).update(value=today))
