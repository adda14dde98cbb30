"""With DEBUG, Django keeps the statements of each connection: of one task for the task, of the engine none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from django_cfg.tasks.middleware.connections import Connections, keep_no_queries

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def debug(settings: Any) -> None:
    settings.DEBUG = True


def in_thread(work: Callable[[], Any]) -> Any:
    """In a thread with connections of its own, closed at its end."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return found[0]


def ask() -> int:
    """How many statements are kept after one more."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return len(connections["default"].queries_log)


def test_a_task_finds_the_statements_of_its_own_run_alone() -> None:
    middleware: Any = Connections()

    def two_tasks() -> tuple[int, int]:
        ask()
        middleware.before_process_message(None, None)
        first = ask()
        middleware.after_process_message(None, None)
        middleware.before_process_message(None, None)
        return first, ask()

    assert in_thread(two_tasks) == (1, 1)


def test_a_thread_of_the_engine_keeps_none() -> None:
    def turns() -> int:
        keep_no_queries()
        return ask() + ask()

    assert in_thread(turns) == 0
