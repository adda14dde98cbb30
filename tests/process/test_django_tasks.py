"""Django tasks with real workers, which are killed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import OTHERS, STORES, Project

pytestmark = pytest.mark.process

TASKS = '''

from django_cfg.tasks import task


@task
def add(a, b):
    return a + b


@task(takes_context=True)
def stubborn(context):
    """The first run waits to be killed."""
    open(HERE / f"run{context.attempt}", "w").write(str(os.getpid()))
    while context.attempt == 1:
        time.sleep(0.01)
    return context.attempt


@task(queue_name="mail")
def letter():
    return os.getpid()


@task
async def later(seconds):
    import asyncio

    await asyncio.sleep(seconds)
    return "done"
'''


@pytest.fixture
def shop(project: Project) -> Project:
    return with_tasks(project)


def with_tasks(project: Project, **arguments: Any) -> Project:
    project.write(**arguments)
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write(TASKS)
    with (project.path / "settings.py").open("a") as file:
        file.write('TASKS = {"default": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": []}}\n')
    return project


def enqueue(project: Project, *calls: str) -> list[str]:
    return project.run("".join(f"print({call}.id)\n" for call in calls))


def look(project: Project, result_id: str) -> list[str]:
    """Status, attempts and value of a result."""
    code = (
        "from django_cfg.tasks.compat import task_backends\n"
        f"r = task_backends['default'].get_result({result_id!r})\n"
        "print(r.status.value, r.attempts, getattr(r, '_return_value'))"
    )
    return project.run(code)


LETHAL = """

from django.dispatch import receiver
from django_cfg.tasks import compat


@task
def deadly():
    os.kill(os.getpid(), 9)


@receiver(compat.task_finished)
def told(sender, task_result, **_):
    error = task_result.errors[-1].exception_class_path
    line = f"{sender.__name__} {task_result.id} {task_result.status.value} {error}"
    with (HERE / "told").open("a") as file:
        file.write(line + "\\n")
"""


@pytest.mark.parametrize("place", ["sqlite", *OTHERS])
def test_a_task_lost_with_its_workers_has_failed_and_is_told_once(project: Project, place: str, tmp_path: Path) -> None:
    with STORES[place](tmp_path) as arguments:
        shop = with_tasks(project, **arguments, max_deliveries=2, lease_ms=5_000)
        with (shop.path / "work" / "tasks.py").open("a") as file:
            file.write(LETHAL)
        (deadly,) = enqueue(shop, "deadly.enqueue()")
        workers = shop.start("--processes", "1")
        told = shop.path / "told"
        eventually(told.exists, within_s=40)
        assert look(shop, deadly)[:2] == ["FAILED", "2"]
        workers.stop()
        shop.finish()  # else a worker makes anew what is taken away here
        assert told.read_text() == f"EngineBackend {deadly} FAILED django_cfg.errors.TaskLost\n"


def db_worker(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return project.manage("db_worker", *words, check=False)


def test_rundramatiq_serves_actors_and_django_tasks_at_once(shop: Project) -> None:
    sync, asynchronous = enqueue(shop, "add.enqueue(1, 2)", "later.enqueue(0.05)")
    (actor,) = shop.send("quick.send()")
    workers = shop.start()
    eventually(lambda: look(shop, asynchronous)[0] == "SUCCESSFUL", within_s=20)
    assert look(shop, sync) == ["SUCCESSFUL", "1", "3"]
    assert shop.ids("end")[actor] == 1
    assert workers.stop() == 0
    assert f"Task id={sync} path=work.tasks.add state=SUCCESSFUL" in workers.log


def test_a_killed_worker_leaves_no_task_running(shop: Project) -> None:
    (stubborn,) = enqueue(shop, "stubborn.enqueue()")
    shop.start()
    first = shop.path / "run1"
    pid = int(eventually(lambda: first.exists() and first.read_text(), within_s=20))
    assert look(shop, stubborn)[:2] == ["RUNNING", "1"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: look(shop, stubborn)[0] == "SUCCESSFUL", within_s=30)
    assert look(shop, stubborn) == ["SUCCESSFUL", "2", "2"]


def test_a_task_that_kills_every_worker_ends_failed(shop: Project) -> None:
    with (shop.path / "work" / "tasks.py").open("a") as file:
        file.write("\n\n@task\ndef deadly():\n    os.kill(os.getpid(), 9)\n")
    with (shop.path / "settings.py").open("a") as file:
        file.write('DJANGO_CFG_TASKS["max_deliveries"] = 2\n')
    (deadly,) = enqueue(shop, "deadly.enqueue()")
    shop.start()
    eventually(lambda: look(shop, deadly)[0] == "FAILED", within_s=40)


def test_db_worker_runs_what_is_ready_and_ends(shop: Project) -> None:
    ids = enqueue(shop, "add.enqueue(1, 1)", "add.enqueue(2, 2)", "letter.enqueue()")
    done = db_worker(shop, "--max-tasks", "1", "--worker-id", "me", "--queue", "default")
    assert (done.returncode, "db_worker: 1 runs." in done.stdout) == (0, True), done.stderr
    assert [look(shop, i)[0] for i in ids] == ["SUCCESSFUL", "READY", "READY"]
    done = db_worker(shop, "--batch", "--queue-name", "*", "--exclude-queues", "mail")
    assert "db_worker: 1 runs." in done.stdout
    assert [look(shop, i)[0] for i in ids] == ["SUCCESSFUL", "SUCCESSFUL", "READY"]
    code = "from django_cfg.tasks.compat import task_backends\n"
    assert shop.run(f"{code}print(task_backends['default'].get_result({ids[0]!r}).worker_ids[0])") == ["me"]
    assert "db_worker: 1 runs." in db_worker(shop, "--batch").stdout
    assert look(shop, ids[2])[0] == "SUCCESSFUL"


def test_a_queue_that_only_an_enqueue_has_named_can_be_served(shop: Project) -> None:
    (result,) = enqueue(shop, "add.using(queue_name='reports').enqueue(1, 2)")
    workers = shop.start("--queues", "reports")
    eventually(lambda: look(shop, result)[0] == "SUCCESSFUL", within_s=20)
    assert workers.stop() == 0
    enqueue(shop, "add.using(queue_name='exotic').enqueue(1, 2)")
    assert "db_worker: 1 runs." in db_worker(shop, "--batch").stdout


@pytest.mark.redis
def test_db_worker_waits_for_a_broker_that_is_away_and_a_batch_does_not(project: Project) -> None:
    away = with_tasks(project, url="redis://127.0.0.1:1/0")
    worker = _started(away, until="The broker does not answer, trying again")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    done = db_worker(away, "--batch")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "CommandError: the broker does not answer: Redis at redis://127.0.0.1:1/0" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--exclude-queues", "a"], "--exclude-queues can only be used with --queue-name=*"),
        (
            ["--batch", "--queue=*", "--exclude-queues", "default,exports,mail"],
            "leaves no queue to serve; known: default",
        ),
        (["--batch", "--processes", "2"], "--batch and --max-tasks run in one process"),
        (["--backend", "missing"], "--backend missing: The connection 'missing' doesn't exist."),
        (["--queue", "defalt"], "Did you mean 'default'?"),
    ],
)
def test_db_worker_says_what_is_wrong(shop: Project, words: list[str], text: str) -> None:
    done = db_worker(shop, *words)
    assert (done.returncode, text in done.stderr) == (2, True), done.stderr


def test_db_worker_supervises_as_rundramatiq_does(shop: Project) -> None:
    workers = _started(shop, "--processes=2", "--threads=2", "--queue=default")
    (result,) = enqueue(shop, "add.enqueue(20, 22)")
    eventually(lambda: look(shop, result)[0] == "SUCCESSFUL", within_s=20)
    workers.send_signal(signal.SIGTERM)
    assert workers.wait(20) == 0
    log = (shop.path / "db_worker.log").read_text()
    assert "db_worker: 2 processes x 2 threads on database://default, queues: default" in log


def test_db_worker_finishes_its_task_when_it_is_stopped(shop: Project) -> None:
    (result,) = enqueue(shop, "later.enqueue(1.5)")
    worker = _started(shop, "--batch", until="state=RUNNING")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert look(shop, result)[0] == "SUCCESSFUL"


def _started(project: Project, *words: str, until: str = "db_worker: ") -> subprocess.Popen[bytes]:
    log: Path = project.path / "db_worker.log"
    environment: dict[str, Any] = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "db_worker", *words],
            cwd=project.path, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    eventually(lambda: until in log.read_text(), within_s=20)
    return process
