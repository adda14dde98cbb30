"""In the process that sends: write with the caller's data, publish after the commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from dramatiq import Message
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerError, EnqueueUnknown
from django_cfg.tasks.brokers.contract import FollowUp
from django_cfg.tasks.brokers.outbox.rows import MOST_AT_ONCE, Target, aged, publish, written
from django_cfg.tasks.brokers.transactions import is_callers
from django_cfg.tasks.models import OutboxMessage

logger = get_logger(__name__)
#: After a broker did not answer, requests leave their messages to the keeper for so long.
SPARED_S = 5.0


def put(broker: Target, connection: BaseDatabaseWrapper, batch: Sequence[FollowUp]) -> None:
    """Write messages into the caller's transaction, to be published after its commit.

    Raises:
        BrokerError: the database has no outbox; says how to make it.
    """
    rows = [written(broker, item) for item in batch]
    if not rows:
        return
    try:
        _insert(connection, rows)
    except DatabaseError as error:
        raise _explained(connection.alias, error) from error
    if connection.in_atomic_block:  # else the project commits by hand, which calls no hook, and the keeper publishes
        publisher = _publisher(broker, connection)
        for row, item in zip(rows, batch, strict=True):
            publisher.messages[row.pk] = item.message


def _insert(connection: BaseDatabaseWrapper, rows: Sequence[OutboxMessage]) -> None:
    if connection.features.can_return_rows_from_bulk_insert:
        OutboxMessage.objects.using(connection.alias).bulk_create(rows)
        return
    for row in rows:
        row.save(force_insert=True, using=connection.alias)


def _explained(alias: str, error: DatabaseError) -> Exception:
    if OutboxMessage._meta.db_table not in str(error):
        return error
    where = "" if alias == "default" else f" --database {alias}"
    return BrokerError(
        f"a task was sent inside a transaction of database {alias!r}, which has no outbox to keep it until the "
        f"commit; run: python manage.py migrate{where}, or send with enqueue_on_commit=False"
    )


class Publisher:
    """The hook of one transaction: publishes its rows, once, after its commit."""

    def __init__(self, broker: Target, alias: str) -> None:
        self.broker, self.alias = broker, alias
        self.messages: dict[int, Message[Any]] = {}
        self.is_done = False
        self.__qualname__ = "the outbox"  # Django names a hook that fails

    def __call__(self) -> None:
        if self.is_done:
            return  # it is registered again where a savepoint may take the first registration away
        self.is_done = True
        ids = iter(self.messages)
        try:
            while chunk := list(islice(ids, MOST_AT_ONCE)):
                self._publish(chunk)
        except (BrokerError, EnqueueUnknown, DatabaseError) as error:
            self.broker.spare_until = time.monotonic() + SPARED_S
            logger.warning("Messages wait in the outbox of database %r: %s", self.alias, error)

    def _publish(self, ids: list[int]) -> None:
        if time.monotonic() < self.broker.spare_until:
            return
        # A savepoint that was rolled back took its rows along, and a cancelled one is never published.
        rows = list(aged(self.alias).filter(pk__in=ids, error=""))
        if rows:
            publish(self.broker, self.alias, rows)
            for row in rows:
                self.broker.mark_accepted(self.messages[row.pk])


def _publisher(broker: Target, connection: BaseDatabaseWrapper) -> Publisher:
    """The one of this transaction, sure to be called if the present savepoint survives."""
    sids, found = _registered(broker, connection)
    if not sids <= set(connection.savepoint_ids):
        transaction.on_commit(found, using=connection.alias, robust=True)
    return found


def _registered(broker: Target, connection: BaseDatabaseWrapper) -> tuple[set[Any], Publisher]:
    """The publisher that waits for this commit, and the savepoints it depends on; a new one depends on all."""
    in_test_case = not all(map(is_callers, connection.atomic_blocks))  # there each hook is captured by itself
    hooks: list[Any] = [] if in_test_case else connection.run_on_commit
    for sids, hook, _ in reversed(hooks):
        if isinstance(hook, Publisher) and hook.broker is broker:
            return sids, hook
    return {"not registered"}, Publisher(broker, connection.alias)
