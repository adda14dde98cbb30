"""Metrics of all workers of a host on one port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import _comm, children_of, is_running

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
def supervisor(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    (project / "tmp").mkdir()
    command = [sys.executable, "-m", "django", "rundramatiq", "-p", "2", "-t", "2"]
    known = environment(project, dramatiq_prom_port="0", TMPDIR=str(project / "tmp"))
    with (project / "log").open("wb") as out:
        workers = subprocess.Popen(command, cwd=project, env=known, stdout=out, stderr=out)
    yield workers
    if workers.poll() is None:
        workers.send_signal(signal.SIGTERM)
        assert workers.wait(20) == 0, (project / "log").read_text()


@pytest.fixture
def port(project: Path, supervisor: subprocess.Popen[bytes]) -> int:
    pattern = re.compile(r"http://127\.0\.0\.1:(\d+)/metrics")
    found = eventually(lambda: pattern.search((project / "log").read_text()), within_s=20)
    return int(found[1])


def below(supervisor: subprocess.Popen[bytes], name: str) -> list[int]:
    return [pid for pid in children_of(supervisor.pid) if _comm(pid).startswith(name)]


def has_counted(port: int, number: int) -> bool:
    return f'dramatiq_tasks_total{{status="completed",task_name="counted"}} {number}.0' in scrape(port)


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(port: int) -> str:
    return fetch(port, "metrics")[1]


def test_one_scrape_adds_up_all_worker_processes(project: Path, port: int) -> None:
    run(project, "-c", SEND)
    line = 'dramatiq_tasks_total{status="completed",task_name="counted"} 7.0'
    eventually(lambda: line in scrape(port))
    text = scrape(port)
    assert 'dramatiq_task_duration_seconds_count{task_name="counted"} 7.0' in text
    assert 'dramatiq_task_wait_seconds_count{queue_name="default"} 7.0' in text
    assert 'dramatiq_queue_depth{queue_name="default"} 0.0' in text
    assert 'dramatiq_queue_oldest_age_seconds{queue_name="default"} 0.0' in text
    assert "dramatiq_broker_up 1.0" in text


def test_the_port_tells_whether_workers_are_ready(project: Path, port: int) -> None:
    assert fetch(port, "livez") == (200, "ok\n")
    eventually(lambda: fetch(port, "readyz") == (200, "ready\n"))
    assert fetch(port, "") == (404, "not found\n")


def test_numbers_and_files_outlive_new_code_and_end_with_the_supervisor(
    project: Path, supervisor: subprocess.Popen[bytes], port: int
) -> None:
    run(project, "-c", SEND)
    eventually(lambda: has_counted(port, 7))
    [directory] = (project / "tmp").iterdir()
    old = below(supervisor, "worker")
    supervisor.send_signal(signal.SIGHUP)
    eventually(lambda: len(new := below(supervisor, "worker")) == 2 and not set(new) & set(old), within_s=40)
    run(project, "-c", SEND)
    eventually(lambda: has_counted(port, 14), within_s=20)
    assert list((project / "tmp").iterdir()) == [directory]
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert list((project / "tmp").iterdir()) == []


def test_files_do_not_grow_in_number_with_the_processes_that_died(
    project: Path, supervisor: subprocess.Popen[bytes], port: int
) -> None:
    for number in range(1, 6):
        run(project, "-c", SEND)
        eventually(lambda number=number: has_counted(port, 7 * number), within_s=20)
        old = eventually(lambda: len(found := below(supervisor, "worker")) == 2 and found)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda old=old: len(new := below(supervisor, "worker")) == 2 and not set(new) & set(old), within_s=20
        )
    [directory] = (project / "tmp").iterdir()
    banks = 2 * 2 + 2
    assert len(list(directory.glob("counter_*.db"))) <= banks
    assert len(list(directory.glob("*.db"))) <= 2 * banks


def test_the_process_that_serves_them_is_replaced_when_it_dies(
    project: Path, supervisor: subprocess.Popen[bytes], port: int
) -> None:
    run(project, "-c", SEND)
    eventually(lambda: has_counted(port, 7))
    [probe] = eventually(lambda: below(supervisor, "probe"))
    os.kill(probe, signal.SIGKILL)
    eventually(lambda: (new := below(supervisor, "probe")) and new != [probe])
    assert has_counted(port, 7)
    assert f"probe (pid {probe}) was killed by signal 9; replacing it" in (project / "log").read_text()


def test_clients_that_drip_bytes_hold_up_no_scrape(port: int) -> None:
    drips = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        for drip in drips:
            drip.sendall(b"GET /metrics HT")
        assert "dramatiq_broker_up" in scrape(port)
    finally:
        for drip in drips:
            drip.close()


def test_two_groups_of_workers_on_one_host_keep_their_numbers_apart(project: Path, port: int) -> None:
    log = project / "second"
    command = [sys.executable, "-m", "django", "rundramatiq", "-p", "1", "--probe", "127.0.0.1:0"]
    with log.open("wb") as out:
        second = subprocess.Popen(command, cwd=project, env=environment(project), stdout=out, stderr=out)
    try:
        found = eventually(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/metrics", log.read_text()), within_s=20)
        other = int(found[1])
        run(project, "-c", SEND)
        pattern = re.compile(r'dramatiq_tasks_total\{status="completed",task_name="counted"\} (\d+)')
        sums = lambda: sum(int(n) for p in (port, other) for n in pattern.findall(scrape(p)))  # noqa: E731
        eventually(lambda: sums() == 7)
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0, log.read_text()


def test_files_of_a_killed_supervisor_are_removed_by_the_next_start_and_no_others(
    project: Path, supervisor: subprocess.Popen[bytes], port: int
) -> None:
    [mine] = (project / "tmp").iterdir()
    with group(project) as killed:
        [theirs] = set((project / "tmp").iterdir()) - {mine}
        left = children_of(killed.pid)
        killed.kill()
        killed.wait(10)
        eventually(lambda: not any(map(is_running, left)), within_s=20)
    assert set((project / "tmp").iterdir()) == {mine, theirs}
    with group(project) as third:
        [new] = set((project / "tmp").iterdir()) - {mine}
        assert new != theirs
        third.send_signal(signal.SIGTERM)
        assert third.wait(20) == 0
    assert list((project / "tmp").iterdir()) == [mine]


@contextmanager
def group(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One more supervisor beside the first, serving metrics."""
    log = project / "group"
    command = [sys.executable, "-m", "django", "rundramatiq", "-p", "1", "--probe", "127.0.0.1:0"]
    known = environment(project, TMPDIR=str(project / "tmp"))
    with log.open("wb") as out, subprocess.Popen(command, cwd=project, env=known, stdout=out, stderr=out) as started:
        try:
            eventually(lambda: "/metrics" in log.read_text() and len(children_of(started.pid)) == 3, within_s=20)
            yield started
        finally:
            started.kill()


def test_without_metrics_the_port_answers_probes_alone(project: Path) -> None:
    settings = (project / "alone.py").read_text().replace('"prometheus_enabled": True', '"probe": "127.0.0.1:0"')
    (project / "alone.py").write_text(settings)
    log = project / "probes"
    command = [sys.executable, "-m", "django", "rundramatiq", "-p", "1"]
    with log.open("wb") as out:
        workers = subprocess.Popen(command, cwd=project, env=environment(project), stdout=out, stderr=out)
    try:
        found = eventually(lambda: re.search(r"http://127\.0\.0\.1:(\d+)/livez", log.read_text()), within_s=20)
        assert fetch(int(found[1]), "livez") == (200, "ok\n")
        assert fetch(int(found[1]), "metrics")[0] == 404
    finally:
        workers.send_signal(signal.SIGTERM)
        assert workers.wait(20) == 0, log.read_text()


@pytest.mark.parametrize("words", [(), ("--probe", "127.0.0.1:{port}")])
def test_a_taken_port_stops_the_start_with_one_line(project: Path, words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        asked = [word.format(port=number) for word in words]
        with pytest.raises(subprocess.CalledProcessError) as caught:
            run(project, "-m", "django", "rundramatiq", *asked, dramatiq_prom_port=number)
    assert caught.value.returncode == 2
    assert f"probes and metrics cannot be served on 127.0.0.1:{number}" in caught.value.stderr
    assert "Traceback" not in caught.value.stderr


def test_an_address_that_is_none_stops_the_start_with_one_line(project: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(project, "-m", "django", "rundramatiq", "--probe", "nowhere")
    assert caught.value.returncode == 2
    assert "expected host:port with a port of 0-65535, got 'nowhere'" in caught.value.stderr
