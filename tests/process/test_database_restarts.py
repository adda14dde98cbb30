"""The database goes away under load and comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.testing.waiting import eventually
from tests.contract.mariadb_server import OwnMariaDB, own_mariadb
from tests.contract.postgres_server import OwnPostgres, own_postgres
from tests.process.conftest import SCALE, Project

pytestmark = [pytest.mark.process, pytest.mark.faults]


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as started:
        yield started


@pytest.fixture(
    params=[
        pytest.param(own_postgres, id="postgres", marks=pytest.mark.postgres),
        pytest.param(own_mariadb, id="mariadb", marks=pytest.mark.mariadb),
    ]
)
def mortal(request: pytest.FixtureRequest, project: Project) -> Iterator[OwnPostgres | OwnMariaDB]:
    with request.param() as started:
        yield started
        project.finish()


def test_a_database_that_is_killed_under_load_costs_at_most_what_ran(
    project: Project, mortal: OwnPostgres | OwnMariaDB
) -> None:
    server = mortal
    project.write(database=server.database, processes=2, threads=2, max_deliveries=20)
    ids = project.run(f"for _ in range({150 * SCALE}): print(short.send(20).message_id)")
    workers = project.start(until=lambda w: len(w.children()) == 2)
    pids = workers.children()
    for number in (1, 2):
        eventually(lambda number=number: len(project.ids("end")) >= number * len(ids) // 3, within_s=60)
        server.kill()
        server.start()
    eventually(lambda: set(project.ids("end")) == set(ids), within_s=60)
    assert workers.children() == pids
    eventually(lambda: not project.counts(), within_s=30)
    assert workers.stop() == 0
    assert sum(project.ids("start").values()) - len(ids) <= 2 * 2 * 2


@pytest.mark.postgres
def test_workers_stop_in_time_while_the_database_is_away(project: Project, server: OwnPostgres) -> None:
    project.write(database=server.database, processes=1, threads=2, shutdown_timeout_ms=1000)
    project.send("gated.send('gate')")
    workers = project.start(until=lambda w: project.ids("start"))
    server.kill()
    assert workers.stop() == 0
    assert "1 messages will be delivered again" in workers.log
    server.start()
    project.open_gate()
    project.start()
    eventually(lambda: project.ids("end"), within_s=40)
