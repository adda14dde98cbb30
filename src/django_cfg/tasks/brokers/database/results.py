"""Results as rows, beside the messages or in another database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db import connections

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import ResultEntry
from django_cfg.tasks.brokers.database.dialect import dialect_of
from django_cfg.tasks.brokers.database.settle import portions
from django_cfg.tasks.brokers.database.statements import Statements
from django_cfg.tasks.brokers.database.transactions import Cursor
from django_cfg.tasks.models import TaskResult


class DatabaseResults:
    """Keeps results on one database alias.

    On the broker's own alias a write is part of the transaction that releases the message. On another one it
    comes before that: a crash between the two costs one more run, never a result.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @cached_property
    def _sql(self) -> Statements:
        return Statements(dialect_of(connections[self.alias].vendor, self.alias))

    def put(self, entries: Sequence[tuple[str, ResultEntry]], beside: Cursor | None = None) -> None:
        """Store results; `beside` is the cursor of a transaction on this very database, to be a part of it."""
        if not entries:
            return
        if beside is not None:
            self._put(beside, entries)
            return
        with connections[self.alias].cursor() as cursor:
            self._put(Cursor(cursor), entries)

    def _put(self, cursor: Cursor, entries: Sequence[tuple[str, ResultEntry]]) -> None:
        if self._sql.dialect.is_in_process:
            cursor.each(self._sql.put_results(1), [(i, e.text, e.ttl_ms) for i, e in entries])
            return
        for chunk in portions(entries, lambda entry: entry[1].text):
            values = [v for i, e in chunk for v in (i, e.text, e.ttl_ms)]
            cursor.later(self._sql.put_results(len(chunk)), values)

    def get(self, message_id: str) -> tuple[bool, Any]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(self._sql.get_result, [message_id])
            row = cursor.fetchone()
        return (False, None) if row is None else (True, codec.loads(row[0]))

    def forget(self, message_ids: Sequence[str]) -> None:
        TaskResult.objects.using(self.alias).filter(message_id__in=message_ids).delete()

    def purge(self) -> None:
        """Delete some of what has expired; called at every sweep."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(self._sql.expired_results)
            expired = [row[0] for row in cursor.fetchall()]
            if expired:
                cursor.execute(self._sql.drop_results(len(expired)), expired)

    def clear(self) -> None:
        TaskResult.objects.using(self.alias).all().delete()
