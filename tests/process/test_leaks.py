"""Many deaths later nothing is left of the dead: no zombie, no descriptor, no session, no connection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from django_cfg.tasks.worker.recycling import resident_mb
from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, STORES, Project, Workers, _stat, session_of

pytestmark = pytest.mark.process
#: What the allocator takes in steps, whatever runs.
NOISE_MIB = 1
AT_ONCE = 20_000
SETUP = (
    "import os, time, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'; django.setup()\n"
    "from work.tasks import HERE, quick\n"
)


def zombies(workers: Workers) -> list[int]:
    pids = [int(p.name) for p in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (found := _stat(pid)) and found[0] == "Z" and found[3] == str(workers.pid)]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def sessions(project: Project) -> int:
    [count] = project.run("from django_cfg.tasks.models import WorkerSession; print(WorkerSession.objects.count())")
    return int(count)


def test_workers_that_were_killed_and_replaced_leave_nothing(project: Project) -> None:
    project.write(processes=2, threads=2)
    workers = project.start(until=lambda w: len(w.children()) == 2 and w.named("keeper"))
    [task] = project.send("quick.send()")
    eventually(lambda: project.ids("end") == {task: 1})
    [keeper] = workers.named("keeper")
    before = descriptors(workers.pid), descriptors(keeper)
    for _ in range(4 * SCALE):
        victims = eventually(lambda: len(c := workers.children()) == 2 and c)
        os.kill(victims[0], signal.SIGKILL)
        eventually(lambda victims=victims: len(c := workers.children()) == 2 and victims[0] not in c, within_s=20)
    [task] = project.send("quick.send()")
    eventually(lambda: task in project.ids("end"))
    assert zombies(workers) == []
    eventually(lambda: sessions(project) == 2, within_s=15)
    assert workers.named("keeper") == [keeper]
    after = descriptors(workers.pid), descriptors(keeper)
    assert all(new <= old + 2 for old, new in zip(before, after, strict=True)), (before, after)
    assert workers.stop() == 0
    assert session_of(workers.pid) == []


@pytest.mark.faults
def test_workers_that_were_recycled_leave_nothing(project: Project) -> None:
    project.write(processes=2, threads=2, max_tasks_per_child=1)
    leaves_nothing(project)
    assert sessions(project) == 0


@pytest.mark.postgres
@pytest.mark.faults
def test_workers_that_were_recycled_leave_no_connection(project: Project, postgres: dict[str, Any]) -> None:
    project.write(database=postgres, processes=2, threads=2, max_tasks_per_child=1)
    leaves_nothing(project)
    assert sessions(project) == 0
    assert connections(postgres) == 0


def leaves_nothing(project: Project) -> None:
    """Recycle workers under load, and stop."""
    workers = project.start(until=lambda w: len(w.children()) == 2 and w.named("keeper"))
    [first] = project.send("quick.send()")
    eventually(lambda: project.ids("end") == {first: 1})
    [keeper] = workers.named("keeper")
    before, memory = (descriptors(workers.pid), descriptors(keeper)), resident_mb(workers.pid)
    restarts = 20 * SCALE
    with steady(project):
        eventually(lambda: workers.log.count("has ended.") >= restarts, within_s=30 + 2 * restarts)
        after = descriptors(workers.pid), descriptors(keeper)
    eventually(lambda: not project.counts(), within_s=60)
    assert set(project.ids("end").values()) == {1}
    assert zombies(workers) == []
    assert workers.named("keeper") == [keeper]
    assert all(new <= old + 2 for old, new in zip(before, after, strict=True)), (before, after)
    grown = resident_mb(workers.pid) - memory
    assert grown < 2 * NOISE_MIB, f"{restarts} restarts: {grown:.1f} MiB more"
    assert workers.stop() == 0
    assert session_of(workers.pid) == []


@pytest.mark.faults
@pytest.mark.parametrize("name", ["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def test_memory_does_not_grow_with_the_tasks(project: Project, tmp_path: Path, name: str) -> None:
    with STORES[name](tmp_path) as store:
        project.write(processes=1, threads=4, **store)
        memory_stays(project)
        project.finish()


def memory_stays(project: Project) -> None:
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write("\n\n@dramatiq.actor\ndef nothing():\n    pass\n")
    workers = project.start()
    warm, measured = 30_000, 10_000 * SCALE
    before = memory_after(project, workers, warm)
    after = memory_after(project, workers, measured)
    assert after - before < 10 * measured / 100_000 + NOISE_MIB, f"{measured} tasks: {before:.1f} to {after:.1f} MiB"
    assert workers.stop() == 0


@contextmanager
def steady(project: Project) -> Iterator[None]:
    """Send tasks while the block runs."""
    code = SETUP + "while not (HERE / 'enough').exists(): quick.send(); time.sleep(0.01)"
    sender = subprocess.Popen([sys.executable, "-c", code], cwd=project.path)
    try:
        yield
    finally:
        project.open_gate("enough")
        sender.wait(10)


def memory_after(project: Project, workers: Workers, count: int) -> float:
    """Resident memory of the worker when it has run so many tasks more."""
    for some in range(0, count, AT_ONCE):
        number = min(AT_ONCE, count - some)
        project.run(f"dramatiq.get_broker().enqueue_many([nothing.message() for _ in range({number})])")
    eventually(lambda: not project.counts(), within_s=30 + count / 100)
    [worker] = workers.children()
    return resident_mb(worker)


@pytest.mark.postgres
def test_workers_hold_a_connection_for_each_thread_and_few_more_and_give_them_back(
    project: Project, postgres: dict[str, Any]
) -> None:
    project.write(database=postgres, processes=2, threads=3)
    touching(project)
    ids = project.run("for _ in range(60): print(touch.send().message_id)")
    workers = project.start()
    eventually(lambda: len(project.ids("end")) == len(ids), within_s=30)
    # Each process: its threads, the exchange, its notifications, the recorder and the announcer. The keeper: leases,
    # outbox, schedules, and upkeep while it works.
    assert connections(postgres) <= 2 * (3 + 4) + 5
    assert workers.stop() == 0
    assert connections(postgres) == 0


@pytest.mark.postgres
@pytest.mark.faults
def test_a_pool_of_connections_serves_every_task(project: Project, postgres: dict[str, Any]) -> None:
    pool = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 10}}}
    project.write(database=postgres | pool, processes=2, threads=2)
    touching(project)
    ids = project.run("for _ in range(40): print(touch.send().message_id)")
    workers = project.start()
    eventually(lambda: len(project.ids("end")) == len(ids), within_s=30)
    assert workers.stop() == 0
    assert project.ids("start") == dict.fromkeys(ids, 1)
    eventually(lambda: connections(postgres) == 0)
    assert "Threads run before the fork" not in workers.log


def touching(project: Project) -> None:
    """Give the project a task that uses the database."""
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write(
            "\n\n@dramatiq.actor\ndef touch():\n"
            "    from django.db import connection\n"
            '    note("start")\n'
            "    with connection.cursor() as cursor:\n"
            '        cursor.execute("SELECT 1")\n'
            '    note("end")\n'
        )


def connections(database: dict[str, Any]) -> int:
    """How many clients the database has."""
    import psycopg

    server = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"]}
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(**server, password=database["PASSWORD"], dbname="postgres") as connection:
        row = connection.execute(count, [database["NAME"]]).fetchone()
    assert row is not None
    return int(row[0])
