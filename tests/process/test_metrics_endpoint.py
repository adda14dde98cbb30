"""Metrics of all workers of a host on one port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.process
SETTINGS = """
    from pathlib import Path
    SECRET_KEY = "x"
    INSTALLED_APPS = ["django_cfg.apps.tasks", "jobs"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20,
                    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;"}}}
    DJANGO_CFG_TASKS = {"prometheus_enabled": True}
"""
TASKS = """
    import dramatiq

    @dramatiq.actor
    def counted():
        return 1
"""
SEND = "import django; django.setup(); from jobs.tasks import counted; [counted.send() for _ in range(7)]"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    (tmp_path / "jobs" / "tasks.py").write_text(textwrap.dedent(TASKS))
    (tmp_path / "alone.py").write_text(textwrap.dedent(SETTINGS))
    run(tmp_path, "-m", "django", "migrate", "-v0")
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "alone", "PYTHONPATH": str(home), **more}


def run(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=home, env=environment(home, **more), capture_output=True, text=True, check=True)


@pytest.fixture
def port(project: Path) -> Iterator[int]:
    log = project / "log"
    command = [sys.executable, "-m", "django", "rundramatiq", "-p", "2", "-t", "2"]
    with log.open("wb") as out:
        workers = subprocess.Popen(
            command, cwd=project, env=environment(project, dramatiq_prom_port="0"), stdout=out, stderr=out
        )
    try:
        found = eventually(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/metrics", log.read_text()))
        yield int(found[1])
    finally:
        workers.send_signal(signal.SIGTERM)
        assert workers.wait(20) == 0, log.read_text()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_one_scrape_adds_up_all_worker_processes(project: Path, port: int) -> None:
    run(project, "-c", SEND)
    line = 'django_cfg_tasks_settled_total{kind="done",queue="default",task="counted"} 7.0'
    eventually(lambda: line in scrape(port))
    assert "django_cfg_tasks_run_seconds_count" in scrape(port)


def test_a_taken_port_stops_the_start_with_one_line(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        with pytest.raises(subprocess.CalledProcessError) as caught:
            run(project, "-m", "django", "rundramatiq", dramatiq_prom_port=number)
    assert caught.value.returncode == 2
    assert f"metrics cannot be served on 127.0.0.1:{number}" in caught.value.stderr
    assert "Traceback" not in caught.value.stderr
