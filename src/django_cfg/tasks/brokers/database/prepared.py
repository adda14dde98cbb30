"""Statements that PostgreSQL plans once for a connection, where that connection is really ours.

Behind a pooler that hands connections out by the transaction neither a prepared statement nor a setting may stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from django_cfg.tasks.brokers.database.transactions import Cursor

try:
    from psycopg import Cursor as DriverCursor
except ImportError:  # an optional driver: without it there is no PostgreSQL
    DriverCursor = None  # type: ignore[assignment, misc]

#: A plan made while the table was empty must serve when it is full: by index, whatever statistics say.
SETTINGS = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off"

_ours: WeakSet[Any] = WeakSet()


class PreparedCursor(Cursor):
    """The driver's own cursor, which sends values apart from the statement."""

    def __init__(self, connection: Any) -> None:
        connection.ensure_connection()
        self._connection = connection
        driver = connection.connection
        if driver not in _ours:
            with connection.wrap_database_errors:
                driver.execute(SETTINGS)
            driver.prepare_threshold = 1
            _ours.add(driver)
        super().__init__(DriverCursor(driver))

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        with self._connection.wrap_database_errors:
            self._cursor.execute(sql, values, prepare=True)


def may_prepare(connection: Any) -> bool:
    """Whether settings may stay on this connection: not when Django's pool hands it to somebody else."""
    return connection.vendor == "postgresql" and not connection.settings_dict["OPTIONS"].get("pool")
