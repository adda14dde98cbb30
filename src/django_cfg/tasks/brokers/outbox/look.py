"""READ: what is in the outbox now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.endings import CANCELLED
from django_cfg.tasks.brokers.outbox.relay import with_outbox
from django_cfg.tasks.brokers.outbox.rows import aged
from django_cfg.tasks.models import OutboxMessage

#: Counts stop here: nobody reads a whole table to tell much from very much.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is accepted and not yet with the broker.

    Attributes:
        alias: the database that holds it.
        delay_ms: the delay it was sent with, counted from `sent_at`.
        error: why it cannot be published; empty while it can.
    """

    message: Message[Any]
    alias: str
    sent_at: datetime
    delay_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The outbox of one database. Counts stop at 10,000.

    Attributes:
        waiting: messages to be published.
        refused: messages that cannot be published, each with its error in the table.
    """

    alias: str
    waiting: int
    refused: int
    oldest_age_s: float


def find(message_id: str, using: Sequence[str] | None = None) -> Waiting | None:
    """A message that is still in an outbox, else None.

    Parameters:
        using: aliases to look into; None: every database that has an outbox.
    """
    for alias in with_outbox() if using is None else using:
        row = _living(OutboxMessage.objects.using(alias)).filter(message_id=message_id).order_by("pk").first()
        if row is not None:
            return Waiting(codec.decode(row.body), alias, row.sent_at, row.delay_ms, row.error)
    return None


def backlog() -> list[Backlog]:
    """The outboxes that hold anything."""
    found = [_backlog(alias) for alias in with_outbox()]
    return [one for one in found if one is not None]


def _backlog(alias: str) -> Backlog | None:
    oldest: Any = _living(aged(alias)).first()
    if oldest is None:
        return None
    age_s = max(0.0, (oldest.now - oldest.sent_at).total_seconds())
    rows = _living(OutboxMessage.objects.using(alias))
    return Backlog(alias, _count(rows.filter(error="")), _count(rows.exclude(error="")), age_s)


def _living(rows: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
    return rows.exclude(error=CANCELLED)


def _count(rows: QuerySet[OutboxMessage]) -> int:
    return rows.order_by()[:MOST_COUNTED].count()
