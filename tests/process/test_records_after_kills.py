"""No record says "running" for ever: what a killed worker could not say is found out from the broker."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project, on_redis, session_of

pytestmark = pytest.mark.process
RECONCILE = """
from datetime import timedelta
from django.utils import timezone
from django_cfg.tasks import upkeep
print(upkeep.reconcile(timezone.now() + timedelta(minutes=2)))
"""


def record(project: Project, message_id: str) -> list[str]:
    """State and attempts of a record; empty while there is none."""
    return project.run(
        "from django_cfg.tasks.models import TaskRecord\n"
        f"for r in TaskRecord.objects.filter(message_id={message_id!r}): print(r.state, r.attempts)"
    )


def kill_all(supervisor: int) -> None:
    for pid in session_of(supervisor):
        os.kill(pid, signal.SIGKILL)


def test_a_task_whose_host_died_is_recorded_as_completed_by_the_next_worker(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, admin_enabled=True)
    [task] = project.send("gated.send('gate')")
    workers = project.start()
    eventually(lambda: record(project, task) == ["running", "1"], within_s=20)
    kill_all(workers.pid)
    assert record(project, task) == ["running", "1"]
    project.open_gate()
    project.start()
    eventually(lambda: record(project, task) == ["completed", "1"], within_s=30)


def test_a_task_that_died_with_its_worker_for_good_is_recorded_as_a_dead_letter(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, admin_enabled=True)
    [task] = project.send("fragile.send()")
    project.start()
    eventually(lambda: record(project, task)[:1] == ["dead_letter"], within_s=30)


@pytest.mark.redis
def test_a_record_whose_last_word_was_lost_follows_the_broker(project: Project, tmp_path: Any) -> None:
    (tmp_path / "own").mkdir()
    with on_redis(tmp_path / "own") as arguments:
        project.write(**arguments, processes=1, admin_enabled=True)
        [task] = project.send("gated.send('gate')")
        workers = project.start()
        eventually(lambda: record(project, task) == ["running", "1"], within_s=20)
        with closing(sqlite3.connect(project.path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the records' database is busy, and the broker is another server
            project.open_gate()
            eventually(lambda: project.ids("end") == {task: 1})
            eventually(lambda: not project.counts(), within_s=20)
            kill_all(workers.pid)
        assert record(project, task) == ["running", "1"]
        assert project.run(RECONCILE) == ["1"]
        assert record(project, task) == ["completed", "1"]
        project.finish()
