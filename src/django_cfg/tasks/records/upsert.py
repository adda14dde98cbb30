"""Multi-row upserts of records, in the words of each database. A write applies only if it is newer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import connections

#: Vendors with a way to say "only if it is newer"; elsewhere a late writer would overwrite newer news.
VENDORS = ("postgresql", "sqlite", "mysql")
CHUNK = 100
#: Assigned last, because MariaDB sees the new values of columns that stand further left.
ORDERING = ("generation", "order_key")


def upsert(
    alias: str,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    key: str,
    added: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> None:
    """Write rows whose `(generation, order_key)` is above what stands there.

    Parameters:
        key: the column that names a row.
        added: columns that are summed up within one generation instead of replaced.
        kept: columns in which an empty text leaves the old one: whoever wrote it did not know.
    """
    if not rows:
        return
    connection = connections[alias]
    conflict = CONFLICTS[connection.vendor](table, columns, key, added, kept)
    with connection.cursor() as cursor:
        SENDERS[connection.vendor](cursor, table, columns, rows, conflict)


def _send_prepared(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], end: str) -> None:
    """One prepared statement, row by row: no server is asked, and a long statement costs more to read."""
    cursor.executemany(f"{_head(table, columns)} VALUES {_marks(columns)} {end}", rows)


def _send_json(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], end: str) -> None:
    """All rows as one value: the driver looks at each value of a statement, which costs more than to encode them."""
    document = msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows]).decode()
    source = f"json_populate_recordset(NULL::{table}, %s::json)"
    cursor.execute(f"{_head(table, columns)} SELECT {', '.join(columns)} FROM {source} {end}", [document])


def _send_chunks(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], end: str) -> None:
    """Many rows in a statement, few enough for the server's limit of its length."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        values = ", ".join([_marks(columns)] * len(chunk))
        cursor.execute(f"{_head(table, columns)} VALUES {values} {end}", [value for row in chunk for value in row])


SENDERS = {"postgresql": _send_json, "sqlite": _send_prepared, "mysql": _send_chunks}


def _head(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)})"


def _marks(columns: Sequence[str]) -> str:
    return f"({', '.join(['%s'] * len(columns))})"


def _on_conflict(table: str, columns: Sequence[str], key: str, added: Sequence[str], kept: Sequence[str]) -> str:
    same = f"{table}.generation = excluded.generation"
    sets = [f"{c} = excluded.{c}" for c in columns if c != key and c not in added and c not in kept]
    sets += [f"{c} = CASE WHEN excluded.{c} = '' THEN {table}.{c} ELSE excluded.{c} END" for c in kept]
    sets += [f"{c} = excluded.{c} + CASE WHEN {same} THEN {table}.{c} ELSE 0 END" for c in added]
    return (
        f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(sets)} WHERE {table}.generation < excluded.generation "
        f"OR ({same} AND {table}.order_key < excluded.order_key)"
    )


def _on_duplicate_key(table: str, columns: Sequence[str], key: str, added: Sequence[str], kept: Sequence[str]) -> str:
    newer = (
        f"({table}.generation < VALUES(generation) OR "
        f"({table}.generation = VALUES(generation) AND {table}.order_key < VALUES(order_key)))"
    )
    same = f"{table}.generation = VALUES(generation)"
    sets = [f"{c} = IF({newer}, VALUES({c}) + IF({same}, {table}.{c}, 0), {table}.{c})" for c in added]
    sets += [f"{c} = IF({newer} AND VALUES({c}) <> '', VALUES({c}), {table}.{c})" for c in kept]
    plain = [c for c in columns if c != key and c not in (*added, *kept, *ORDERING)]
    sets += [f"{c} = IF({newer}, VALUES({c}), {table}.{c})" for c in plain]
    # The order key first of the two: its own condition still needs the old generation.
    sets.append(f"order_key = IF({newer}, VALUES(order_key), {table}.order_key)")
    sets.append(f"generation = GREATEST({table}.generation, VALUES(generation))")
    return f"ON DUPLICATE KEY UPDATE {', '.join(sets)}"


CONFLICTS = {"postgresql": _on_conflict, "sqlite": _on_conflict, "mysql": _on_duplicate_key}


def count_errors(alias: str, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add to groups of failures: `seen` grows, the newest text stands."""
    if not rows:
        return
    connection = connections[alias]
    newest = [c for c in columns if c not in ("fingerprint", "seen", "first_seen", "task", "error_type")]
    if connection.vendor == "mysql":
        sets = [f"seen = {table}.seen + VALUES(seen)", *(f"{c} = VALUES({c})" for c in newest)]
        conflict = f"ON DUPLICATE KEY UPDATE {', '.join(sets)}"
    else:
        sets = [f"seen = {table}.seen + excluded.seen", *(f"{c} = excluded.{c}" for c in newest)]
        conflict = f"ON CONFLICT (fingerprint) DO UPDATE SET {', '.join(sets)}"
    with connection.cursor() as cursor:
        cursor.executemany(f"{_head(table, columns)} VALUES {_marks(columns)} {conflict}", rows)
