"""Transactions of the broker's own, and the cursor that saves round trips in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from django_cfg.tasks.brokers.database.dialect import Dialect

T = TypeVar("T")
#: What a server says to the one whom it chose to end a circle of waiting; nothing of it was done.
DEADLOCK_CODES, DEADLOCK_STATES = (1213,), ("40P01", "40001")
#: Of values in one script; servers refuse packets above some megabytes.
MOST_CHARS = 1_000_000
MOST_TRIES = 5
DEADLOCK_PAUSE_S = 0.005


class Cursor:
    """Django's cursor. `later` is for statements whose answer nobody reads."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        self._cursor.execute(sql, list(values))

    later = execute

    def each(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """One statement for each row, now. Where a database costs no round trip, a text that stays the same is cheaper
        than one of many rows, which is read anew for every number of them."""
        self._cursor.executemany(sql, rows)

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return list(self._cursor.fetchall())

    def copy(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Send rows by PostgreSQL's COPY."""
        with self._cursor.db.wrap_database_errors, self._cursor.copy(sql) as stream:
            for row in rows:
                stream.write_row(row)

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)

    @property
    def new_id(self) -> int:
        """The key that the database gave to the row just inserted."""
        return int(self._cursor.lastrowid)


class ScriptCursor(Cursor):
    """Keeps what was said `later` and sends it before the next statement, in one round trip."""

    def __init__(self, cursor: Any) -> None:
        super().__init__(cursor)
        self._kept: list[tuple[str, Sequence[Any]]] = []
        self._chars = 0

    def later(self, sql: str, values: Sequence[Any] = ()) -> None:
        chars = sum(len(value) for value in values if isinstance(value, str))
        if self._chars + chars > MOST_CHARS:
            self.execute(sql, values)
            return
        self._chars += chars
        self._kept.append((sql, values))

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        script, self._kept, self._chars = [*self._kept, (sql, values)], [], 0
        super().execute("; ".join(one for one, _ in script), [value for _, many in script for value in many])
        for _ in script[1:]:
            self._cursor.nextset()


class BatchCursor(ScriptCursor):
    """As `ScriptCursor`, inside a transaction that Django begins and ends."""

    def copy(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.flush()
        super().copy(sql, rows)

    def flush(self) -> None:
        """Send what is still kept."""
        if self._kept:
            *self._kept, (sql, values) = self._kept
            self.execute(sql, values)


def may_batch(connection: Any) -> bool:
    """Whether several statements may travel as one text: on PostgreSQL, where the driver puts the values into it."""
    is_known = connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg"
    return is_known and not connection.settings_dict["OPTIONS"].get("server_side_binding")


@contextmanager
def transacting(alias: str, dialect: Dialect) -> Iterator[Cursor]:
    """One transaction, or a part of the caller's."""
    connection = connections[alias]
    if connection.in_atomic_block or not dialect.sends_scripts:
        with transaction.atomic(using=alias), connection.cursor() as raw:
            cursor = BatchCursor(raw) if may_batch(connection) else Cursor(raw)
            yield cursor
            if isinstance(cursor, BatchCursor):
                cursor.flush()
        return
    with connection.cursor() as raw:
        script = ScriptCursor(raw)
        script.later("BEGIN")
        try:
            yield script
            script.execute("COMMIT")
        except BaseException:
            _abandon(connection)
            raise


def _abandon(connection: Any) -> None:
    try:
        connection.rollback()
    except (DatabaseError, InterfaceError):
        connection.close()  # which ends the transaction too


def undisturbed(work: Callable[[], T]) -> T:
    """Do a whole transaction, again if the server ended it for a deadlock: then nothing of it was done."""
    for attempt in range(1, MOST_TRIES):
        try:
            return work()
        except OperationalError as error:
            if not is_deadlock(error):
                raise
            time.sleep(DEADLOCK_PAUSE_S * attempt)
    return work()


def is_deadlock(error: BaseException) -> bool:
    """Whether the server rolled a transaction back because of another one."""
    code = error.args[0] if error.args else None
    return code in DEADLOCK_CODES or getattr(error.__cause__, "sqlstate", None) in DEADLOCK_STATES
