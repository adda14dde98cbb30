"""Real workers on Redis: what a kill costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import OwnServer, own_server
from tests.process.conftest import Project as Held

pytestmark = [pytest.mark.process, pytest.mark.redis]

SETTINGS = """
SECRET_KEY = "only for this test"
INSTALLED_APPS = ["django_cfg.apps.tasks", "ledger"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{directory}/records.sqlite3"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DRAMATIQ_BROKER = {{"OPTIONS": {{"url": "{url}"}}}}
DJANGO_CFG_TASKS = {{"lease_ms": 5000}}
"""
TASKS = """
import os
import time

import dramatiq


@dramatiq.actor
def note(n):
    entry = os.open("{directory}/ledger.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(entry, f"{{n}} {{os.getpid()}}\\n".encode())
    os.close(entry)
    time.sleep(0.05)
"""
SEND = """
import django

django.setup()
import dramatiq
from ledger.tasks import note

dramatiq.get_broker().enqueue_many([note.message(n) for n in range({count})])
"""
LEFT = """
import django

django.setup()
import dramatiq

all_stats = dramatiq.get_broker().queue_stats()
print(sum(s.pending + s.scheduled + s.running + s.retrying + s.dead for s in all_stats))
"""
COUNT = 200


class Project:
    """A project of one app whose task writes a line for each of its starts, beside broker and database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        (directory / "ledger").mkdir()
        (directory / "ledger" / "__init__.py").touch()
        (directory / "ledger" / "tasks.py").write_text(TASKS.format(directory=directory))
        (directory / "project_settings.py").write_text(SETTINGS.format(directory=directory, url=url))
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project_settings",
            "PYTHONPATH": str(directory),
        }

    def python(self, code: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def starts(self) -> list[tuple[int, int]]:
        """(task, process) of each start so far."""
        ledger = self.directory / "ledger.txt"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    @contextmanager
    def workers(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "django", "rundramatiq", "--processes", "2", "--threads", "4"]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL) as supervisor:
            try:
                yield supervisor
            finally:
                supervisor.send_signal(signal.SIGTERM)
                supervisor.wait(40)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    (tmp_path / "redis").mkdir()
    with own_server(tmp_path / "redis") as started:
        yield started


def test_a_killed_worker_loses_nothing_and_repeats_at_most_what_it_ran(server: OwnServer, tmp_path: Path) -> None:
    project = Project(tmp_path, server.url)
    project.python(
        "import django; django.setup(); from django.core.management import call_command; "
        "call_command('migrate', verbosity=0)"
    )
    project.python(SEND.format(count=COUNT))
    with project.workers():
        eventually(lambda: len(project.starts()) > COUNT // 4, within_s=30)
        os.kill(project.starts()[-1][1], signal.SIGKILL)
        eventually(lambda: int(project.python(LEFT)) == 0, within_s=40)
    runs = Counter(task for task, _ in project.starts())
    assert set(runs) == set(range(COUNT))
    assert sum(runs.values()) - COUNT <= 4


def test_a_stop_while_the_server_is_away_says_what_will_be_delivered_again_and_ends_in_time(
    server: OwnServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = Held(tmp_path_factory.mktemp("held"))
    held.write(url=server.url, processes=1, threads=2, shutdown_timeout_ms=1000)
    held.send("gated.send('gate')", "gated.send('gate')")
    workers = held.start(until=lambda w: len(held.ids("start")) == 2)
    server.kill()
    workers.signal(signal.SIGTERM)
    try:
        assert workers.wait(20) == 0
    finally:
        held.finish()
        server.start()
    assert "2 messages will be delivered again" in workers.log
