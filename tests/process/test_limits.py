"""Limits that end processes: a hung task, a worker that has done enough, work that must not run twice."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project, is_running

pytestmark = pytest.mark.process


def attempts(project: Project) -> list[str]:
    """Types of the failed attempts on record."""
    return project.run(
        "from django_cfg.tasks.models import Attempt\nfor a in Attempt.objects.order_by('id'): print(a.error_type)"
    )


def test_a_hung_task_is_ended_with_its_process_recorded_and_dead_at_max_deliveries(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, threads=2)
    hung, other = project.send("hung.send()", "gated.send('gate')")
    workers = project.start(until=lambda w: len(project.ids("start")) == 2)
    [first] = set(project.pids("start"))
    eventually(lambda: not is_running(first), within_s=10)
    assert f"Task hung {hung} is past its hard time limit" in workers.log
    eventually(lambda: project.counts()["dead"] == 1, within_s=20)
    project.open_gate()
    eventually(lambda: other in project.ids("end"), within_s=15)
    assert project.ids("start")[hung] == 2
    eventually(lambda: attempts(project).count("HardTimeLimitExceeded") == 2)
    assert workers.stop() == 0


@pytest.mark.faults
def test_limits_that_race_the_ends_of_tasks_cost_no_thread_and_no_outcome(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, threads=8)
    count = 160 * SCALE
    ids = project.run(f"for n in range({count}): print(close_to_its_limit.send(297 + n % 7).message_id)")
    workers = project.start()
    pids = workers.children()
    eventually(lambda: set(project.counts()) <= {"dead"}, within_s=60 + 30 * SCALE)
    dead = project.counts()["dead"]
    assert project.ids("start") == dict.fromkeys(ids, 1)
    assert 0 <= count - len(project.ids("end")) <= dead  # one that noted its end may have met its limit after that
    gated = project.send(*["gated.send('gate')"] * 8)
    eventually(lambda: set(gated) <= set(project.ids("start")), within_s=60)  # every thread takes one
    project.open_gate()
    eventually(lambda: set(gated) <= set(project.ids("end")), within_s=60)
    assert workers.children() == pids and "broke its worker thread" not in workers.log
    assert workers.stop() == 0
    assert project.counts() == ({"dead": dead} if dead else {})


def test_a_task_that_must_not_run_twice_is_a_dead_letter_when_its_process_dies(project: Project) -> None:
    project.write(processes=1)
    [task] = project.send("fragile.send()")
    workers = project.start(until=lambda w: project.ids("start"))
    eventually(lambda: project.counts() == {"dead": 1}, within_s=15)
    assert workers.stop() == 0
    assert project.ids("start") == {task: 1}


def test_a_task_that_must_not_run_twice_is_a_dead_letter_when_a_stop_interrupts_it(project: Project) -> None:
    project.write(processes=1, shutdown_timeout_ms=100)
    tasks = project.path / "work" / "tasks.py"
    tasks.write_text(
        tasks.read_text().replace("@dramatiq.actor\ndef gated", '@dramatiq.actor(on_lost="dead_letter")\ndef gated')
    )
    project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start"))
    assert workers.stop() == 0
    assert project.counts() == {"dead": 1}


def test_a_task_sees_that_an_earlier_run_died_with_its_process(project: Project) -> None:
    project.write(processes=1)
    [task] = project.send("careful.send()")
    workers = project.start(until=lambda w: project.ids("redelivered"))
    assert workers.stop() == 0
    assert project.ids("start") == {task: 2}
    assert not project.counts()
    assert "WorkerLost" in attempts(project)


def test_workers_that_have_run_enough_tasks_are_replaced_and_nothing_is_lost(project: Project) -> None:
    project.write(processes=2, threads=2, max_tasks_per_child=20)
    ids = project.run("for _ in range(200): print(short.send(10).message_id)")
    workers = project.start()
    eventually(lambda: len(project.ids("end")) == len(ids), within_s=40)
    assert workers.stop() == 0
    assert project.ids("start") == project.ids("end") == dict.fromkeys(ids, 1)
    assert len(set(project.pids("end"))) > 2
    assert "max_tasks_per_child=20" in workers.log


def test_a_worker_that_uses_too_much_memory_is_replaced_when_its_tasks_have_ended(project: Project) -> None:
    project.write(processes=1, threads=2, max_memory_mb=100)
    gated, _ = project.send("gated.send('gate')", "greedy.send('kept')")
    workers = project.start(until=lambda w: "max_memory_mb=100" in w.log)
    [old] = set(project.pids("start"))
    eventually(lambda: len(workers.children()) == 2)  # the new one works while the old one finishes
    assert is_running(old)
    project.open_gate()
    eventually(lambda: not is_running(old), within_s=15)
    assert workers.stop() == 0
    assert project.ids("start")[gated] == 1
