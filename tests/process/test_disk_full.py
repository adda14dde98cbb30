"""The disk is full for a while: producers hear of it, workers stay, and all goes on when there is space again.

The disk is a file system of 4 MiB in memory, which only root may mount; `/dev/full` is a log on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import own_server
from tests.process.conftest import SQLITE_OPTIONS, Project, Workers

pytestmark = [pytest.mark.process, pytest.mark.faults]
SIZE = 4 * 1024 * 1024
#: Sends until it is refused; prints what was accepted, then the error's name.
FILL = """
from django_cfg.errors import BrokerError
for _ in range(2000):
    try:
        print(quick.send("x" * 20_000).message_id, flush=True)
    except BrokerError as error:
        print("refused", type(error).__name__)
        break
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return ballast


def goes_on_with_space(project: Project, workers: Workers, disk: Path) -> None:
    """What was accepted runs once there is space, by the same processes."""
    pids = workers.children()
    ballast = fill(disk)
    *accepted, word, error = project.run(FILL)
    assert word == "refused", "nobody heard of the full disk"
    assert error in {"BrokerError", "BrokerUnreachable", "EnqueueUnknown"}
    ballast.unlink()
    accepted += project.send("quick.send()")
    eventually(lambda: set(accepted) <= set(project.ids("end")), within_s=60)
    assert workers.children() == pids
    eventually(lambda: not project.counts(), within_s=30)
    assert workers.stop() == 0


def test_the_disk_of_sqlite_is_full(project: Project, disk: Path) -> None:
    name = str(disk / "db")
    project.write({"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": SQLITE_OPTIONS})
    goes_on_with_space(project, project.start(until=lambda w: len(w.children()) == 2), disk)


@pytest.mark.redis
def test_the_disk_of_redis_is_full(project: Project, disk: Path) -> None:
    with own_server(disk, "--appendonly", "yes", "--appendfsync", "everysec") as server:
        project.write(url=server.url)
        goes_on_with_space(project, project.start(until=lambda w: len(w.children()) == 2), disk)


def test_a_log_on_a_full_disk_stops_no_task(project: Project) -> None:
    project.write()
    ids = project.run("for _ in range(50): print(failing.send('s').message_id)\nprint(quick.send().message_id)")
    with open("/dev/full", "wb", buffering=0) as log:
        with pytest.raises(OSError) as caught:
            log.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        process = subprocess.Popen(
            [sys.executable, "manage.py", "rundramatiq"],
            cwd=project.path,
            env=project._env(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        eventually(lambda: set(ids) <= set(project.ids("start")), within_s=40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
