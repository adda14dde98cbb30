"""Only the application uses PostgreSQL, and it is killed: its tasks fail and are retried, and sending goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.contract.postgres_server import OwnPostgres, own_postgres
from tests.contract.redis_server import OwnServer, own_server
from tests.process.conftest import Project
from tests.process.test_leaks import touching

pytestmark = [pytest.mark.process, pytest.mark.faults, pytest.mark.postgres, pytest.mark.redis]


@pytest.fixture
def database() -> Iterator[OwnPostgres]:
    with own_postgres() as started:
        yield started


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OwnServer]:
    (tmp_path / "redis").mkdir()
    with own_server(tmp_path / "redis") as started:
        yield started


def test_tasks_fail_and_are_retried_while_sending_goes_on(
    project: Project, database: OwnPostgres, broker: OwnServer
) -> None:
    project.write(database=database.database, url=broker.url, max_retries=50, max_backoff=500)
    touching(project)
    workers = project.start(until=lambda w: len(w.children()) == 2)
    pids = workers.children()
    early = project.send("touch.send()")
    eventually(lambda: set(early) <= set(project.ids("end")), within_s=20)
    database.kill()
    late = project.run("for _ in range(20): print(touch.send().message_id)")
    other = project.run("for _ in range(20): print(quick.send().message_id)")
    eventually(lambda: set(other) <= set(project.ids("end")), within_s=20)
    eventually(lambda: set(late) <= set(project.ids("start")), within_s=20)
    time.sleep(1)  # as long as the outage lasts
    assert not set(late) & set(project.ids("end"))
    database.start()
    eventually(lambda: set(late) <= set(project.ids("end")), within_s=40)
    assert workers.children() == pids
    eventually(lambda: not project.counts(), within_s=20)
    assert workers.stop() == 0
