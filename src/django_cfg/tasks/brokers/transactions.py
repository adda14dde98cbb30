"""Which transaction a send belongs to."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def open_transaction(first: str) -> BaseDatabaseWrapper | None:
    """The connection of this thread that is inside a transaction; of several that of `first`, else as in DATABASES."""
    inside = [connection for connection in connections.all(initialized_only=True) if is_inside(connection)]
    return min(inside, key=lambda connection: connection.alias != first, default=None)


def is_inside(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is written now waits for a commit of the caller."""
    if connection.in_atomic_block:
        return any(map(is_callers, connection.atomic_blocks))
    return connection.connection is not None and not connection.autocommit


def is_callers(block: Any) -> bool:
    """Whether an atomic block is not the one that Django's `TestCase` opens around each test."""
    return not getattr(block, "_from_testcase", False)
