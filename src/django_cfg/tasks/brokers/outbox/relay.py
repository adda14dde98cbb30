"""The keeper's part: publish what nobody else did. Any number of keepers may do so at once."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from dramatiq.logging import get_logger

from django_cfg.errors import BrokerError, EnqueueUnknown, TaskError
from django_cfg.tasks.brokers.endings import CANCELLED, cancelled
from django_cfg.tasks.brokers.outbox.rows import MOST_AT_ONCE, Target, aged, publish
from django_cfg.tasks.models import OutboxMessage

logger = get_logger(__name__)
#: From the moment a keeper sees a row: its own process publishes within milliseconds after the commit.
LEFT_BEHIND = timedelta(seconds=5)
#: A keeper that died while it published holds its rows for so long.
HELD = timedelta(seconds=30)
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


def with_outbox() -> list[str]:
    """Databases that have one."""
    return [alias for alias in aliases() if has_table(alias)]


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
        if not self._rows("", CANCELLED).filter(Q(free_at=None) | Q(free_at__lte=Now())).exists():
            return PAUSE_S  # the usual case writes nothing
        self._hold(self._rows("").filter(free_at=None), self._left_behind)
        rows = self._hold(self._rows("").filter(free_at__lte=Now()), HELD)
        try:
            self._publish(rows)
            self._forget_cancelled()
        except (BrokerError, EnqueueUnknown) as error:
            return self._later(rows, error)
        self._pause_s = PAUSE_S
        return PAUSE_S if len(rows) < MOST_AT_ONCE else 0.0

    def _rows(self, *errors: str) -> QuerySet[OutboxMessage]:
        return aged(self.alias).filter(error__in=errors, broker=self.broker.name)

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
            publish(self.broker, self.alias, rows)
        except EnqueueUnknown:
            raise
        except (TaskError, ValueError):
            self._publish_one_by_one(rows)

    def _publish_one_by_one(self, rows: list[OutboxMessage]) -> None:
        """One of them cannot be published; it stays, visibly, and harms no other."""
        for row in rows:
            try:
                publish(self.broker, self.alias, [row])
            except EnqueueUnknown:
                raise
            except (TaskError, ValueError) as error:
                logger.error("Message %s cannot leave the outbox of %r: %s", row.message_id, self.alias, error)
                self._these([row]).update(error=str(error)[:1000])

    def _forget_cancelled(self) -> None:
        """Nobody publishes these any more; should one be with the broker all the same, it is taken back there."""
        for row in self._rows(CANCELLED).filter(free_at__lte=Now())[:MOST_AT_ONCE]:
            if not (self.broker.cancel_stored(row.message_id) or self.broker.load_result(row.message_id)[0]):
                self.broker.store_result(row.message_id, cancelled(row.body))
            self._these([row]).delete()
