"""Stopping: what runs is finished, what waits goes back, nothing is lost and nothing hangs."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project, children_of, is_running, session_of

pytestmark = pytest.mark.process


@pytest.mark.parametrize("whole_group", [False, True], ids=["supervisor", "whole group"])
def test_sigterm_finishes_what_runs_and_gives_the_rest_back(
    project: Project, store: dict[str, Any], whole_group: bool
) -> None:
    project.write(**store, processes=1, threads=2, shutdown_timeout_ms=60_000)
    ids = project.send("gated.send('gate')", "gated.send('gate')", *["quick.send()"] * 5)
    workers = project.start(until=lambda w: len(project.ids("start")) == 2)
    if whole_group:
        os.killpg(workers.pid, signal.SIGTERM)
        os.killpg(workers.pid, signal.SIGTERM)
    else:
        workers.signal(signal.SIGTERM)
    eventually(lambda: project.counts()["pending"] == 5)
    assert workers.process.poll() is None
    project.open_gate()
    assert workers.wait() == 0
    assert project.ids("end") == dict.fromkeys(ids[:2], 1)
    assert project.counts() == {"pending": 5}
    assert session_of(workers.pid) == []


def test_a_task_longer_than_the_shutdown_timeout_is_given_back_uncounted_and_runs_again(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, shutdown_timeout_ms=300, max_retries=0, max_deliveries=1)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start"))
    assert workers.stop() == 0
    assert project.counts() == {"pending": 1}
    project.open_gate()
    project.start()
    eventually(lambda: project.ids("end") == {task: 1})
    assert project.ids("start") == {task: 2}
    eventually(lambda: not project.counts().total())


def test_the_second_ctrl_c_means_now(project: Project) -> None:
    project.write(processes=1)
    project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start"))
    [child] = workers.children()
    os.killpg(workers.pid, signal.SIGINT)
    eventually(lambda: "Stopping:" in workers.log)  # two signals at once would be one
    assert workers.process.poll() is None
    os.killpg(workers.pid, signal.SIGINT)
    assert workers.wait(3) == 1
    assert not is_running(child)


def test_a_pid_file_is_there_while_the_supervisor_runs_and_guards_it(project: Project) -> None:
    project.write(processes=1)
    file = project.path / "workers.pid"
    workers = project.start("--pid-file", str(file))
    assert file.read_text().split() == [str(workers.pid)]
    second = project.manage("rundramatiq", "--pid-file", str(file), check=False)
    assert second.returncode == 2
    assert f"belongs to process {workers.pid}" in second.stderr
    assert workers.stop() == 0
    assert not file.exists()


def test_watching_restarts_the_workers_after_a_change_and_leaves_no_orphans(project: Project) -> None:
    project.write(processes=1)
    workers = project.start("--watch", "work", "-t", "1", until=lambda w: len(session_of(w.pid)) == 4)
    [before] = children_of(workers.pid)
    tasks = project.path / "work" / "tasks.py"
    tasks.write_text(tasks.read_text().replace('note("end")', 'note("end")\n    note("changed")'))
    [after] = eventually(lambda: (new := children_of(workers.pid)) and new != [before] and new, within_s=15)
    assert not is_running(before)
    [task] = project.send("quick.send()")
    eventually(lambda: project.ids("changed") == {task: 1}, within_s=15)
    assert "1 threads" in workers.log
    workers.signal(signal.SIGTERM)
    assert workers.wait() == 0
    assert session_of(workers.pid) == []
    assert not is_running(after)


def test_the_workers_of_a_killed_watcher_end_too(project: Project) -> None:
    project.write(processes=1)
    workers = project.start("--watch", "work", "-t", "1", until=lambda w: len(session_of(w.pid)) == 4)
    members = session_of(workers.pid)
    workers.signal(signal.SIGKILL)
    workers.wait()
    eventually(lambda: not any(is_running(pid) for pid in members), within_s=10)
