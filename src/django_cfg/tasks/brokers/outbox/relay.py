"""The keeper's part: publish what nobody else did. Any number of keepers may do so at once."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerError, EnqueueUnknown, TaskError
from django_cfg.tasks.brokers.outbox.rows import MOST_AT_ONCE, Target, aged, delete, follow_up
from django_cfg.tasks.models import OutboxMessage

logger = get_logger(__name__)
#: From the moment a keeper sees a row: its own process publishes within milliseconds after the commit.
LEFT_BEHIND = timedelta(seconds=5)
#: A keeper that died while it published holds its rows for so long.
CLAIMED = timedelta(seconds=30)
PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
WITHOUT_TABLE_S = 60.0
_seen: set[str] = set()


def aliases() -> list[str]:
    """Databases that may have an outbox."""
    return [alias for alias in connections if router.allow_migrate_model(alias, OutboxMessage)]


def has_table(alias: str) -> bool:
    """Whether the outbox was made in this database; one that was seen is not looked for again."""
    if alias not in _seen and OutboxMessage._meta.db_table in connections[alias].introspection.table_names():
        _seen.add(alias)
    return alias in _seen


class Relay:
    """Publishes what is left behind in the outbox of one database.

    A row is noted when it is first seen, and claimed when it is still there after five seconds. Its age alone would
    not do: the transaction that wrote it may have been long, and its process may be about to publish it.
    """

    def __init__(self, broker: Target, alias: str, left_behind: timedelta = LEFT_BEHIND) -> None:
        self.broker, self.alias, self._left_behind = broker, alias, left_behind
        self._pause_s = PAUSE_S

    def turn(self) -> float:
        """Publish what is due; returns seconds until the next turn, more of them while the broker is down."""
        if not has_table(self.alias):
            return WITHOUT_TABLE_S
        if not self._open().filter(Q(free_at=None) | Q(free_at__lte=Now())).exists():
            return PAUSE_S  # the usual case writes nothing
        self._hold(self._open().filter(free_at=None), self._left_behind)
        rows = self._hold(self._open().filter(free_at__lte=Now()), CLAIMED)
        try:
            self._publish(rows)
        except (BrokerError, EnqueueUnknown) as error:
            return self._later(rows, error)
        self._pause_s = PAUSE_S
        return PAUSE_S if len(rows) < MOST_AT_ONCE else 0.0

    def _open(self) -> QuerySet[OutboxMessage]:
        return aged(self.alias).filter(error="", broker=self.broker.name)

    def _hold(self, rows: QuerySet[OutboxMessage], span: timedelta) -> list[OutboxMessage]:
        with transaction.atomic(using=self.alias):
            found = list(rows.select_for_update(skip_locked=True)[:MOST_AT_ONCE])
            self._these(found).update(free_at=Now() + span)
        return found

    def _these(self, rows: list[OutboxMessage]) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.using(self.alias).filter(pk__in=[row.pk for row in rows])

    def _later(self, rows: list[OutboxMessage], error: Exception) -> float:
        self._these(rows).update(free_at=Now())
        logger.warning("%d messages wait in the outbox of database %r: %s", len(rows), self.alias, error)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return self._pause_s

    def _publish(self, rows: list[OutboxMessage]) -> None:
        if not rows:
            return
        try:
            self.broker.store([follow_up(row) for row in rows])
        except EnqueueUnknown:
            raise
        except (TaskError, ValueError):
            self._publish_one_by_one(rows)
        else:
            delete(self.alias, rows)

    def _publish_one_by_one(self, rows: list[OutboxMessage]) -> None:
        """One of them cannot be published; it stays, visibly, and harms no other."""
        for row in rows:
            try:
                self.broker.store([follow_up(row)])
            except EnqueueUnknown:
                raise
            except (TaskError, ValueError) as error:
                logger.error("Message %s cannot leave the outbox of %r: %s", row.message_id, self.alias, error)
                self._these([row]).update(error=str(error)[:1000])
            else:
                delete(self.alias, [row])
