"""The outbox between real processes: what a kill or an outage between a commit and its publish costs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import OwnServer, own_server
from tests.process.conftest import Project

pytestmark = [pytest.mark.process, pytest.mark.redis]

LEFT = "from django_cfg.tasks import queries\nprint(sum(one.waiting for one in queries.outbox()))"
SEND = "from django.db import transaction\nwith transaction.atomic():\n    {line}\n    print(quick.send().message_id)"
#: A keeper takes what is five seconds old; the rest is the start of the workers.
PATIENCE_S = 25


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    (tmp_path / "redis").mkdir()
    with own_server(tmp_path / "redis") as started:
        yield started


@pytest.fixture
def on_redis(project: Project, server: OwnServer) -> Project:
    project.write()
    with (project.path / "settings.py").open("a") as settings:
        settings.write(f'DRAMATIQ_BROKER = {{"OPTIONS": {{"url": "{server.url}"}}}}\n')
    return project


def left(project: Project) -> int:
    return int(project.run(LEFT)[0])


def killed_after_its_commit(project: Project) -> None:
    kill = "transaction.on_commit(lambda: os.kill(os.getpid(), 9))"
    code = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'; django.setup()\n"
    code += "from work.tasks import *\n" + SEND.format(line=kill)
    done = subprocess.run([sys.executable, "-c", code], cwd=project.path, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_process_killed_between_commit_and_publish_loses_and_repeats_nothing(on_redis: Project) -> None:
    for _ in range(3):
        killed_after_its_commit(on_redis)
    assert (left(on_redis), on_redis.counts()) == (3, Counter())
    first, second = on_redis.start(), on_redis.start()  # two keepers
    eventually(lambda: sum(on_redis.ids("end").values()) >= 3, within_s=PATIENCE_S)
    eventually(lambda: left(on_redis) == 0)
    assert (first.stop(), second.stop()) == (0, 0)
    assert sorted(on_redis.ids("start").values()) == [1, 1, 1]


def test_a_broker_that_is_down_at_the_commit_gets_its_messages_when_it_is_back(
    on_redis: Project, server: OwnServer
) -> None:
    server.kill()
    (sent,) = on_redis.run(SEND.format(line="pass"))
    assert left(on_redis) == 1
    workers = on_redis.start()
    eventually(lambda: "wait in the outbox" in workers.log, within_s=PATIENCE_S)
    server.start()
    eventually(lambda: on_redis.ids("end")[sent] == 1, within_s=PATIENCE_S)
    assert left(on_redis) == 0
    assert workers.stop() == 0
    assert on_redis.ids("start") == {sent: 1}


def test_a_project_that_changes_its_broker_leaves_nothing_in_the_outbox(on_redis: Project, server: OwnServer) -> None:
    server.kill()
    (sent,) = on_redis.run(SEND.format(line="pass"))
    with (on_redis.path / "settings.py").open("a") as settings:
        settings.write('DRAMATIQ_BROKER = {"OPTIONS": {"url": "database://default"}}\n')
    workers = on_redis.start()
    eventually(lambda: on_redis.ids("end")[sent] == 1, within_s=PATIENCE_S)
    assert workers.stop() == 0
    server.start()
