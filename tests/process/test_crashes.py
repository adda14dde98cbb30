"""Processes die at bad moments; no accepted task is lost, and none runs more often than it must."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project, is_running, session_of

pytestmark = pytest.mark.process


def test_pgrep_shows_the_supervisor_and_each_of_its_workers(project: Project) -> None:
    workers = project.write(processes=3).start(until=lambda w: len(w.children()) == 3 and w.named("keeper"))
    shown = [
        pid
        for pid in session_of(workers.pid)
        if b"rundramatiq" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    ]
    assert shown == sorted([workers.pid, *workers.children(), *workers.named("keeper")])


def test_a_task_whose_worker_is_killed_runs_once_more_and_only_that_worker_is_replaced(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.pids("start") and len(w.children()) == 2)
    [victim] = project.pids("start")
    [survivor] = set(workers.children()) - {victim}
    os.kill(victim, signal.SIGKILL)
    project.open_gate()
    eventually(lambda: project.ids("end") == {task: 1}, within_s=15)
    replaced = eventually(lambda: len(c := workers.children()) == 2 and c)
    assert survivor in replaced
    assert victim not in replaced
    assert is_running(workers.pid)
    assert workers.stop() == 0
    assert project.ids("start") == {task: 2}


#: As where a limit of processes, or of memory, is reached.
NO_PROCESSES = """
import subprocess

def unless_full(make):
    def made(*given):
        if (HERE / "full").exists():
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return make(*given)
    return made

os.fork = unless_full(os.fork)
subprocess._fork_exec = unless_full(subprocess._fork_exec)
"""


def test_a_supervisor_that_gets_no_new_process_for_a_while_goes_on_with_the_others(project: Project) -> None:
    project.write()
    with (project.path / "work" / "tasks.py").open("a") as tasks:
        tasks.write(NO_PROCESSES)
    workers = project.start(until=lambda w: len(w.children()) == 2 and w.named("keeper"))
    (project.path / "full").touch()
    workers.signal(signal.SIGHUP)
    eventually(lambda: "new code cannot be tried" in workers.log)
    os.kill(workers.children()[0], signal.SIGKILL)
    eventually(lambda: "worker 1 cannot be started" in workers.log)
    [task] = project.send("quick.send()")
    eventually(lambda: project.ids("end") == {task: 1})
    (project.path / "full").unlink()
    eventually(lambda: len(workers.children()) == 2, within_s=15)
    assert workers.stop() == 0


def test_a_task_that_kills_its_process_is_a_dead_letter_at_max_deliveries_and_the_innocent_complete(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, max_deliveries=3)
    innocent = 20 * SCALE
    ids = project.run(f"print(killer.send().message_id)\nfor _ in range({innocent}): print(short.send(20).message_id)")
    project.start()
    eventually(lambda: set(ids[1:]) <= set(project.ids("end")), within_s=30)
    eventually(lambda: project.ids("start")[ids[0]] == 3, within_s=30)
    eventually(lambda: project.counts()["dead"] == 1, within_s=15)
    assert project.ids("start")[ids[0]] == 3
    assert max(project.ids("end").values()) <= 2


@pytest.mark.faults
def test_a_task_that_crashes_the_interpreter_is_a_dead_letter_at_max_deliveries(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=2, threads=2)
    crasher, *innocent = project.send("crasher.send()", *["short.send(20)"] * 20)
    workers = project.start()
    eventually(lambda: project.counts()["dead"] == 1, within_s=60)
    eventually(lambda: set(innocent) <= set(project.ids("end")), within_s=60)
    assert workers.stop() == 0
    assert project.ids("start")[crasher] == 2
    assert "was killed by signal 11" in workers.log


@pytest.mark.faults
def test_a_task_that_takes_all_memory_fails_or_dies_with_its_process_and_the_innocent_complete(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, threads=2, max_deliveries=2)
    bomb, *innocent = project.send("bomb.send()", *["short.send(20)"] * 20)
    workers = project.start()
    eventually(lambda: project.counts()["dead"] == 1, within_s=60)
    eventually(lambda: set(innocent) <= set(project.ids("end")), within_s=60)
    [after] = project.send("quick.send()")
    eventually(lambda: after in project.ids("end"), within_s=60)
    assert workers.stop() == 0
    assert 2 <= project.ids("start")[bomb] <= 4  # two attempts, or two deaths, or some of both


def test_the_workers_of_a_killed_supervisor_end_within_five_seconds(project: Project, store: dict[str, Any]) -> None:
    project.write(**store)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start") and len(w.children()) == 2)
    orphans = workers.children()
    workers.signal(signal.SIGKILL)
    workers.wait()
    eventually(lambda: not any(is_running(pid) for pid in orphans), within_s=5.5)
    project.open_gate()
    project.start()
    eventually(lambda: project.ids("end") == {task: 1})
    assert project.ids("start") == {task: 2}


def test_two_supervisors_share_the_work_and_each_task_runs_once(project: Project) -> None:
    project.write()
    first, second = project.start(), project.start()
    ids = project.run(f"for _ in range({150 * SCALE}): print(short.send(5).message_id)")
    eventually(lambda: len(project.ids("end")) >= len(ids), within_s=30 * SCALE)
    teams = [set(session_of(w.pid)) for w in (first, second)]
    assert all(team & set(project.pids("end")) for team in teams)
    assert first.stop() == second.stop() == 0
    assert set(project.ids("start")) == set(ids)  # nothing lost, no phantom
    assert set(project.ids("start").values()) == {1}  # nothing extra
    assert project.ids("start") == project.ids("end")


def test_kills_at_any_moment_lose_nothing_and_repeat_at_most_what_ran(project: Project, store: dict[str, Any]) -> None:
    project.write(**store, processes=2, threads=2, max_deliveries=50)
    kills = 4 * SCALE
    ids = project.run(f"for _ in range({200 * SCALE}): print(short.send(10).message_id)")
    workers = project.start(until=lambda w: len(w.children()) == 2)
    victims: set[int] = set()
    for number in range(1, kills + 1):
        goal = number * len(ids) // (kills + 1)
        eventually(lambda goal=goal: len(project.ids("end")) >= goal, within_s=30)
        victims.add(victim := eventually(workers.children)[number % 2 - 1])
        os.kill(victim, signal.SIGKILL)
    eventually(lambda: set(project.ids("end")) == set(ids), within_s=40)
    assert workers.stop() == 0
    assert set(project.ids("start")) == set(ids)
    runs: dict[str, list[int]] = defaultdict(list)
    for line in project.ledger():
        if line.word == "start":
            runs[line.id].append(line.pid)
    repeated = [pid for pids in runs.values() for pid in pids[:-1]]
    assert set(repeated) <= victims
    if "rabbitmq_prefix" not in store:  # where nobody can acknowledge for the dead what they had finished
        assert len(repeated) <= kills * 2  # its threads


@pytest.mark.parametrize("ends_before_handlers", [True, False])
def test_a_stop_signal_right_after_the_start_is_not_lost(project: Project, ends_before_handlers: bool) -> None:
    project.write(processes=8)
    for _ in range(2 * SCALE):
        workers = project.start(until=lambda w: w.children())
        if ends_before_handlers:
            os.killpg(workers.pid, signal.SIGTERM)
        else:
            workers.signal(signal.SIGTERM)
        assert workers.wait(8) == 0, workers.log
        assert session_of(workers.pid) == []
