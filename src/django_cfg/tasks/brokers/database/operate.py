"""What operators ask and do, on tables: counts by index, dead letters, retry, clear, cancel, pause."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Collate
from dramatiq import Message

from django_cfg.tasks.brokers import codec, paging
from django_cfg.tasks.brokers.collector import fresh
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo, FollowUp, QueueStats, Standing
from django_cfg.tasks.brokers.database.dialect import MYSQL
from django_cfg.tasks.brokers.database.results import DatabaseResults
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import DeadLetter, PausedQueue, QueueMessage, WorkerSession
from django_cfg.tasks.models.queue_message import MessageState
from django_cfg.units import s_to_ms

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

CHUNK = 500
LOOSE_COLLATION = "utf8mb4_general_ci"


def queue_stats(alias: str, declared: Iterable[str], now_ms: int) -> list[QueueStats]:
    """One entry a queue, by name. Three grouped counts over indexes, no whole-table read."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    oldest: dict[str, int] = {}
    for name in declared:
        counts[name]["pending"] += 0
    live = QueueMessage.objects.using(alias).values("queue", "state", "is_retry").order_by()
    for row in live.annotate(n=Count("id"), oldest=Min("due_at")):
        word = _word(row["state"], row["is_retry"])
        counts[row["queue"]][word] += row["n"]
        if word == "pending":
            oldest[row["queue"]] = min(row["oldest"], oldest.get(row["queue"], row["oldest"]))
    for dead in DeadLetter.objects.using(alias).values("queue").order_by().annotate(n=Count("id")):
        counts[dead["queue"]]["dead"] += dead["n"]
    return [
        QueueStats(queue=name, **found, oldest_pending_age_s=_age_s(oldest.get(name), now_ms))
        for name, found in sorted(counts.items())
    ]


def _word(state: int, is_retry: bool) -> str:
    if state == MessageState.SCHEDULED:
        return "retrying" if is_retry else "scheduled"
    return "running" if state == MessageState.CLAIMED else "pending"


def _age_s(since_ms: int | None, now_ms: int) -> float | None:
    return None if since_ms is None else max(0, now_ms - since_ms) / 1000


def find(alias: str, message_id: str) -> Standing | None:
    """A message that waits or runs."""
    row = QueueMessage.objects.using(alias).filter(message_id=message_id).first()
    if row is None:
        return None
    try:
        message = codec.decode(row.body)
    except ValueError:
        return None  # it becomes a dead letter as soon as a worker sees it
    state = State(_word(row.state, row.is_retry))
    if state is not State.RUNNING or row.session is None:
        return Standing(message, state, row.deliveries)
    holder = WorkerSession.objects.using(alias).filter(pk=row.session).first()
    return Standing(message, state, row.deliveries, row.claimed_at, "" if holder is None else str(holder))


def peek(alias: str, queue: str, limit: int) -> list[Message[Any]]:
    waiting = QueueMessage.objects.using(alias).filter(
        queue=queue, state__in=(MessageState.READY, MessageState.SUSPECT)
    )
    return [codec.decode(m.body) for m in waiting.order_by("priority", "id")[:limit]]


def matching(alias: str, only: DeadFilter, now_ms: int) -> QuerySet[DeadLetter]:
    found = DeadLetter.objects.using(alias).all()
    if only.queue is not None:
        found = found.filter(queue=only.queue)
    if only.task is not None:
        found = found.filter(task=only.task)
    if only.message_ids:
        found = found.filter(message_id__in=only.message_ids)
    if only.older_than_s is not None:
        found = found.filter(died_at__lte=now_ms - s_to_ms(only.older_than_s))
    if only.newer_than_s is not None:
        found = found.filter(died_at__gte=now_ms - s_to_ms(only.newer_than_s))
    if only.error is not None:
        found = _mentioning(found, only.error)
    return found


def _mentioning(found: QuerySet[DeadLetter], text: str) -> QuerySet[DeadLetter]:
    """In any case of letters; on MySQL that is a matter of the collation, and our columns are exact."""
    if connections[found.db].vendor == MYSQL:
        loose = {f"any_{name}": Collate(F(name), LOOSE_COLLATION) for name in ("error", "reason")}
        return found.alias(**loose).filter(Q(any_error__icontains=text) | Q(any_reason__icontains=text))
    return found.filter(Q(error__icontains=text) | Q(reason__icontains=text))


def dead_letters(alias: str, only: DeadFilter, limit: int, now_ms: int, after: str) -> list[DeadLetterInfo]:
    found = matching(alias, only, now_ms)
    if after:
        found = found.filter(id__lt=paging.number(after))
    return [_info(letter, now_ms) for letter in found.order_by("-id")[:limit]]


def _info(letter: DeadLetter, now_ms: int) -> DeadLetterInfo:
    try:
        message = codec.decode(letter.body)
    except ValueError:
        message = None
    errors = message.options.get("errors", []) if message is not None else []
    return DeadLetterInfo(
        message_id=letter.message_id,
        task=letter.task,
        queue=letter.queue,
        reason=letter.reason,
        error=letter.error,
        attempts=max(len(errors), letter.deliveries),
        age_s=max(0, now_ms - letter.died_at) / 1000,
        cursor=str(letter.pk),
        message=message,
        deliveries=letter.deliveries,
    )


def retry_dead(broker: EngineBroker, results: DatabaseResults, found: QuerySet[DeadLetter], spread_ms: int) -> int:
    """Move dead letters back in chunks; each chunk is one transaction, so nothing is in two places."""
    moved, last_id = 0, 0
    while True:
        with transaction.atomic(using=found.db):
            chunk = list(found.filter(id__gt=last_id).order_by("id")[:CHUNK])
            if not chunk:
                return moved
            last_id = chunk[-1].id
            moved += _revive(broker, results, chunk, spread_ms)


def _revive(broker: EngineBroker, results: DatabaseResults, letters: list[DeadLetter], spread_ms: int) -> int:
    messages = [info.message for info in (_info(letter, 0) for letter in letters) if info.message is not None]
    again = [FollowUp(fresh(message), random.randint(0, spread_ms)) for message in messages]
    results.forget([item.message.message_id for item in again])  # or the old failure would answer for the new life
    broker.store(again)
    return len(again)


def clear_dead(found: QuerySet[DeadLetter]) -> int:
    """Delete in chunks by id, so that no lock is long; what dies meanwhile stays."""
    cleared, last = 0, found.order_by("-id").values_list("id", flat=True).first()
    while last is not None and (ids := list(found.filter(id__lte=last).values_list("id", flat=True)[:CHUNK])):
        cleared += DeadLetter.objects.using(found.db).filter(id__in=ids).delete()[0]
    return cleared


def pause(alias: str, queue: str, now_ms: int) -> None:
    PausedQueue.objects.using(alias).get_or_create(queue=queue, defaults={"paused_at": now_ms})


def resume(alias: str, queue: str) -> None:
    PausedQueue.objects.using(alias).filter(queue=queue).delete()


def store_dead(broker: EngineBroker, alias: str, messages: Sequence[Message[Any]], reason: str, now_ms: int) -> None:
    """Dead letters from elsewhere; an id that lives or is dead already is left alone."""
    wanted = {message.message_id: message for message in messages}
    living = QueueMessage.objects.using(alias).filter(message_id__in=wanted)
    for message_id in living.values_list("message_id", flat=True):
        del wanted[message_id]
    letters = [_letter(broker, message, reason, now_ms) for message in wanted.values()]
    DeadLetter.objects.using(alias).bulk_create(letters, ignore_conflicts=True, batch_size=CHUNK)


def _letter(broker: EngineBroker, message: Message[Any], reason: str, now_ms: int) -> DeadLetter:
    return DeadLetter(
        message_id=message.message_id,
        queue=message.queue_name,
        task=message.actor_name,
        priority=broker.priority_of(message.actor_name),
        body=broker.encode(message),
        enqueued_at=now_ms,
        died_at=now_ms,
        generation=now_ms,
        reason=reason[:200],
    )
