"""Leases of workers that stand still or are too busy to renew them, and of a keeper that dies."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import WITH_LEASES, Project, is_running

pytestmark = pytest.mark.process


@pytest.mark.parametrize("store", WITH_LEASES, indirect=True)
def test_a_task_that_holds_the_interpreter_lock_longer_than_the_lease_runs_once(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=2, threads=2, lease_ms=5000)
    [task] = project.send("selfish.send(9000)")
    workers = project.start(until=lambda w: project.ids("start"))
    eventually(lambda: project.ids("end"), within_s=30)
    eventually(lambda: not project.counts())
    assert workers.stop() == 0
    assert project.ids("start") == {task: 1}
    assert "Lease lost" not in workers.log


def test_what_a_stopped_worker_holds_runs_elsewhere_and_its_late_outcome_is_refused(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=2, threads=1, lease_ms=5000)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start") and len(w.children()) == 2)
    [stopped] = project.pids("start")
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: project.ids("start") == {task: 2}, within_s=25)
    project.open_gate()
    eventually(lambda: project.ids("end") == {task: 1})
    os.kill(stopped, signal.SIGCONT)
    eventually(lambda: project.ids("end") == {task: 2})
    eventually(lambda: "Lease lost" in workers.log)
    assert is_running(stopped)
    [after] = project.send("quick.send()")
    eventually(lambda: after in project.ids("end"))
    assert workers.stop() == 0


def test_a_killed_keeper_is_replaced_and_costs_nothing(project: Project) -> None:
    project.write(processes=2, threads=2)
    ids = project.run("for _ in range(100): print(short.send(20).message_id)")
    workers = project.start(until=lambda w: len(w.children()) == 2 and w.named("keeper"))
    pids = workers.children()
    for _ in range(2):
        [keeper] = eventually(lambda: workers.named("keeper"))
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda keeper=keeper: not is_running(keeper))
    eventually(lambda: len(project.ids("end")) == len(ids), within_s=30)
    assert workers.children() == pids
    assert project.ids("start") == dict.fromkeys(ids, 1)
    eventually(lambda: workers.named("keeper"))
    assert workers.stop() == 0


def test_a_worker_that_dies_while_no_keeper_lives_is_settled_by_the_next_one(project: Project) -> None:
    project.write(processes=1, threads=2)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start") and w.named("keeper"))
    [keeper], [worker] = workers.named("keeper"), workers.children()
    os.kill(keeper, signal.SIGSTOP)  # so that it cannot settle before it is killed
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not is_running(worker))
    os.kill(keeper, signal.SIGKILL)
    project.open_gate()
    eventually(lambda: project.ids("end") == {task: 1}, within_s=15)
    assert workers.stop() == 0
    assert project.ids("start") == {task: 2}
