"""Signals beside those that stop: new code under the same process id, and a look inside."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project, is_running, session_of

pytestmark = pytest.mark.process


def change_tasks(project: Project, old: str, new: str) -> None:
    tasks = project.path / "work" / "tasks.py"
    text = tasks.read_text()
    assert old in text
    tasks.write_text(text.replace(old, new))


def send_some(project: Project) -> list[str]:
    return project.run(f"for _ in range({50 * SCALE}): print(short.send(40).message_id)")


def test_a_hangup_brings_new_code_under_load_and_loses_and_repeats_nothing(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=2, threads=2)
    ids = send_some(project)
    workers = project.start("--pid-file", "workers.pid", until=lambda w: len(w.children()) == 2 and project.ids("end"))
    old = workers.children()
    change_tasks(project, "    time.sleep(ms / 1000)\n", '    time.sleep(ms / 1000)\n    note("changed")\n')
    workers.signal(signal.SIGHUP)
    # Work does not end before the new code is there.
    eventually(lambda: ids.extend(send_some(project)) or project.ids("changed"), within_s=60)
    eventually(lambda: len(project.ids("end")) == len(ids), within_s=60 * SCALE)
    eventually(lambda: not any(is_running(pid) for pid in old), within_s=30)
    assert (project.path / "workers.pid").read_text().split() == [str(workers.pid)]
    assert workers.stop() == 0
    assert project.ids("start") == project.ids("end") == dict.fromkeys(ids, 1)
    assert session_of(workers.pid) == []


def test_a_task_that_runs_long_ends_under_the_old_code_while_the_new_one_serves(project: Project) -> None:
    project.write(processes=1, threads=1, shutdown_timeout_ms=100)
    [long] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start"))
    [old] = project.pids("start")
    workers.signal(signal.SIGHUP)
    eventually(lambda: len(workers.children()) == 2, within_s=60)
    [quick] = project.send("quick.send()")
    eventually(lambda: quick in project.ids("end"), within_s=15)
    assert is_running(old)
    project.open_gate()
    eventually(lambda: not is_running(old))
    assert workers.stop() == 0
    assert project.ids("start") == {long: 1, quick: 1}


def test_code_that_does_not_load_changes_nothing(project: Project) -> None:
    project.write(processes=1)
    workers = project.start(until=lambda w: len(w.children()) == 1)
    before = workers.children()
    change_tasks(project, "import dramatiq\n", "import dramatiq\nimport nowhere_to_be_found\n")
    workers.signal(signal.SIGHUP)
    eventually(lambda: "No module named 'nowhere_to_be_found'" in workers.log, within_s=60)
    assert "the old one goes on" in workers.log
    assert workers.children() == before
    change_tasks(project, "import nowhere_to_be_found\n", "")
    [task] = project.send("quick.send()")
    eventually(lambda: project.ids("end") == {task: 1})
    assert workers.stop() == 0


def test_a_worker_that_is_killed_after_a_reload_is_settled_for_by_the_new_keeper(project: Project) -> None:
    project.write(processes=1, threads=2)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start") and w.named("keeper"))
    [old] = project.pids("start")
    keepers = workers.named("keeper")
    workers.signal(signal.SIGHUP)
    eventually(lambda: (new := workers.named("keeper")) and new != keepers, within_s=60)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: project.ids("start")[task] == 2, within_s=10)
    project.open_gate()
    eventually(lambda: project.ids("end") == {task: 1})
    assert workers.stop() == 0


def test_a_look_inside_names_the_tasks_and_shows_every_stack(project: Project) -> None:
    project.write(processes=1, threads=2)
    [task] = project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start") and w.named("keeper"))
    workers.signal(signal.SIGTTIN)
    eventually(lambda: f"runs gated {task}" in workers.log)
    assert f"runs: gated {task} for " in workers.log  # from the ledger, whatever the process does
    eventually(lambda: "time.sleep(0.01)" in workers.log or "exists()" in workers.log)
    eventually(lambda: "Thread leases" in workers.log)
    project.open_gate()
    assert workers.stop() == 0


def test_a_project_that_starts_threads_at_import_gets_started_processes_instead_of_forks(project: Project) -> None:
    project.write(processes=1, threads=2)
    change_tasks(
        project,
        "import dramatiq\n",
        "import threading\nimport dramatiq\n"
        "threading.Thread(target=threading.Event().wait, name='chatterbox', daemon=True).start()\n",
    )
    gated, _ = project.send("gated.send('gate')", "quick.send()")
    workers = project.start(until=lambda w: len(project.ids("start")) == 2 and w.named("keeper"))
    assert "starts threads when it is imported (chatterbox)" in workers.log
    [worker] = workers.children()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: project.ids("start")[gated] == 2, within_s=60)
    project.open_gate()
    eventually(lambda: len(project.ids("end")) == 2)
    workers.signal(signal.SIGHUP)
    eventually(lambda: (new := workers.children()) and worker not in new, within_s=60)
    assert workers.stop() == 0
    assert session_of(workers.pid) == []


def test_spawned_processes_end_with_a_killed_supervisor(project: Project) -> None:
    project.write(processes=1)
    change_tasks(
        project,
        "import dramatiq\n",
        "import threading\nimport dramatiq\n"
        "threading.Thread(target=threading.Event().wait, name='chatterbox', daemon=True).start()\n",
    )
    workers = project.start(until=lambda w: w.children() and w.named("keeper"))
    workers.signal(signal.SIGHUP)
    eventually(lambda: "trying the new code" in workers.log)
    workers.signal(signal.SIGKILL)
    workers.wait()
    eventually(lambda: session_of(workers.pid) == [], within_s=10)
