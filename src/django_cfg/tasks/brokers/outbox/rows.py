"""Rows of the outbox: from a message, to the broker, away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from django.db import models
from django.db.models.functions import Now
from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import FollowUp, ResultEntry
from django_cfg.tasks.brokers.endings import CANCELLED
from django_cfg.tasks.models import OutboxMessage
from django_cfg.units import timedelta_to_ms

#: Messages of one publish: a Redis server does nothing else meanwhile.
MOST_AT_ONCE = 1000


class Target(Protocol):
    """The broker, as the outbox sees it."""

    #: Empty for the project's own broker.
    name: str
    #: On this process's monotonic clock: until then requests leave their messages to the keeper.
    spare_until: float

    def encode(self, message: Message[Any]) -> str: ...
    def store(self, batch: Sequence[FollowUp]) -> None: ...
    def store_result(self, message_id: str, entry: ResultEntry) -> None: ...
    def load_result(self, message_id: str) -> tuple[bool, Any]: ...
    def cancel_stored(self, message_id: str) -> bool: ...
    def mark_accepted(self, message: Message[Any]) -> None: ...


def written(broker: Target, item: FollowUp) -> OutboxMessage:
    """The row of a message, not yet stored."""
    body = broker.encode(item.message)
    return OutboxMessage(
        message_id=item.message.message_id, broker=broker.name, body=body, delay_ms=item.delay_ms, sent_at=Now()
    )


def aged(alias: str) -> models.QuerySet[OutboxMessage]:
    """Rows with `now`, the database's own time."""
    return OutboxMessage.objects.using(alias).annotate(now=Now()).order_by("pk")


def follow_up(row: Any) -> FollowUp:
    """What an aged row is for the broker. A delay counts from the send.

    Raises:
        ValueError: its text is no message.
    """
    waited_ms = max(0, timedelta_to_ms(row.now - row.sent_at))
    return FollowUp(codec.decode(row.body), max(0, row.delay_ms - waited_ms))


def publish(broker: Target, alias: str, rows: Sequence[Any]) -> None:
    """Aged rows to the broker, and away. What an operator cancels meanwhile is cancelled where it is then."""
    broker.store([follow_up(row) for row in rows])
    these = OutboxMessage.objects.using(alias).filter(pk__in=[row.pk for row in rows])
    deleted, _ = these.exclude(error=CANCELLED).delete()
    if deleted < len(rows):  # or somebody else has published some of them too
        late = these.filter(error=CANCELLED)
        for row in late:
            broker.cancel_stored(row.message_id)
        late.delete()
