"""Taking over what waits in the table of django-tasks-db."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from django_cfg.tasks.compat import task_backends
from django_cfg.tasks.management.imports import django_tasks_db
from django_cfg.testing import drain
from tests.contract import work
from tests.contract.conftest import serving

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


@pytest.fixture(params=["default", POSTGRES])
def alias(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """A database with the other package's table, and a broker in it."""
    model = django_tasks_db._model(django_tasks_db.TABLE)
    connection = connections[request.param]
    with connection.schema_editor() as editor:
        editor.create_model(model)
    work.runs.clear()
    for _ in serving(f"database://{request.param}"):
        yield request.param
    with connection.schema_editor() as editor:
        editor.delete_model(model)


def row(alias: str, path: str, *args: Any, **more: Any) -> uuid.UUID:
    values = {"status": "READY", "enqueued_at": timezone.now(), "priority": 0, "queue_name": "default",
              "run_after": datetime(9999, 1, 1, tzinfo=UTC), "args_kwargs": {"args": args, "kwargs": {}}}  # fmt: skip
    number = uuid.uuid4()
    django_tasks_db._model(django_tasks_db.TABLE).objects.using(alias).create(
        id=number, task_path=path, **{**values, **more}
    )
    return number


def imported(alias: str, *words: str) -> dict[str, Any]:
    out = StringIO()
    call_command("dramatiq_import", "--from", "django-tasks-db", "--database", alias, "--json", *words, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_what_waits_keeps_its_id_order_priority_and_time(alias: str) -> None:
    path, later = work.note.module_path, timezone.now() + timedelta(hours=1)
    first = row(alias, path, "first", enqueued_at=timezone.now() - timedelta(days=1))
    row(alias, path, "urgent", priority=9)
    delayed = row(alias, path, "delayed", run_after=later, queue_name="reports")
    row(alias, "gone.task", "x")
    row(alias, path, "busy", status="RUNNING")
    row(alias, path, "old", status="SUCCESSFUL")

    counted = imported(alias, "--dry-run")
    assert counted == {
        "schema": 1, "waiting": {path: 3}, "unknown": {"gone.task": 1}, "running": 1, "moved": 0, "refused": []
    }  # fmt: skip
    assert imported(alias, "--no-input")["moved"] == 3
    assert imported(alias, "--no-input")["waiting"] == {}

    backend = task_backends["default"]
    found = backend.get_result(str(delayed))
    assert (found.task.run_after, found.task.queue_name) == (later, "reports")
    assert drain() == 2
    assert work.runs == ["urgent", "first"]
    assert backend.get_result(str(first)).return_value is None


def test_what_the_backend_refuses_stays_and_harms_no_other(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_tasks_db, "CHUNK", 2)
    path, far = work.note.module_path, timezone.now() + timedelta(days=8000)
    odd = [
        row(alias, path, "low", priority=-500),
        row(alias, path, "far", run_after=far),
        row(alias, path, "long" * 30_000),
        row(alias, path, args_kwargs={"args": ["x"]}),
        row(alias, path, args_kwargs=["x"]),
    ]
    for name in ("a", "b", "c"):
        row(alias, path, name)

    found = imported(alias, "--no-input")
    assert [text.partition(":")[0] for text in found["refused"]] == [str(number) for number in odd]
    assert "between -100 and 100" in found["refused"][0] and "its arguments lack 'kwargs'" in found["refused"][3]
    assert (found["moved"], drain(), work.runs) == (3, 3, ["a", "b", "c"])
    out = StringIO()
    call_command("dramatiq_import", "--from", "django-tasks-db", "--database", alias, "--no-input", stdout=out)
    assert f"left in place: {odd[0]}: priority" in out.getvalue() and "0 moved." in out.getvalue()


def test_a_database_without_the_table_is_an_error(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="has no table of django-tasks-db") as caught:
        imported("default", "--dry-run")
    assert caught.value.returncode == 2


def test_nothing_moves_without_a_yes(alias: str) -> None:
    row(alias, work.note.module_path, "x")
    with pytest.raises(CommandError, match="1 task would be moved") as caught:
        imported(alias)
    assert (caught.value.returncode, drain()) == (2, 0)
