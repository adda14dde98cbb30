"""PostgreSQL fails under load; no accepted task is lost, and none runs more often than the fault explains."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project
from tests.process.postgres_server import OwnPostgres, binaries, own_postgres

pytestmark = [
    pytest.mark.process,
    pytest.mark.postgres,
    pytest.mark.skipif(binaries() is None, reason="needs the programs of a PostgreSQL server"),
]
MESSAGE = "django_cfg_tasks_queuemessage"
END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
)
SHOW = "from django.db import connection as c\nprint(c.cursor().execute('SHOW plan_cache_mode').fetchone()[0])"
#: A producer that sends each message under its id until it is accepted, whatever the database does meanwhile.
PRODUCER = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django; django.setup()
import dramatiq
from django.db import connection
from django_cfg.errors import BrokerError, EnqueueUnknown
from work.tasks import short

for _ in range({count}):
    message = short.message(5)
    while True:
        try:
            dramatiq.get_broker().enqueue(message)
        except (BrokerError, EnqueueUnknown):
            connection.close()
            time.sleep(0.1)
        else:
            break
    print(message.message_id, flush=True)
    time.sleep(0.005)
"""


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as made:
        yield made


def producing(project: Project, count: int) -> subprocess.Popen[str]:
    code = PRODUCER.format(count=count)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=project.path, env=project._env(), stdout=subprocess.PIPE, text=True
    )


def accepted_by(producer: subprocess.Popen[str]) -> set[str]:
    output, _ = producer.communicate(timeout=90)
    assert producer.returncode == 0
    return set(output.split())


def all_ended(project: Project, accepted: set[str]) -> None:
    eventually(lambda: accepted <= set(project.ids("end")), within_s=60)
    assert set(project.ids("start")) == accepted  # nothing lost, no phantom


def test_a_server_that_stops_at_once_and_comes_back_loses_nothing(project: Project, server: OwnPostgres) -> None:
    project.write(server.database())
    workers = project.start()
    producer = producing(project, 150 * SCALE)
    for _ in range(2):
        eventually(lambda: len(project.ids("end")) > 10)
        server.stop("immediate")
        time.sleep(1)  # as long as the outage lasts
        server.start()
    all_ended(project, accepted_by(producer))
    assert max(project.ids("start").values()) <= 3  # at most one extra run a message and a fault
    assert workers.stop() == 0


def test_dropped_connections_repeat_nothing(project: Project, server: OwnPostgres) -> None:
    project.write(server.database())
    workers = project.start()
    producer = producing(project, 150 * SCALE)
    while producer.poll() is None:
        server.say(END_OTHERS)
        time.sleep(0.3)  # the pace of the faults
    all_ended(project, accepted_by(producer))
    eventually(lambda: server.say(f"SELECT count(*) FROM {MESSAGE}") == [(0,)], within_s=30)
    assert set(project.ids("start").values()) == {1}
    assert workers.stop() == 0


RELOAD = "SELECT pg_reload_conf()"
FAILING_CLAIMS = (
    [
        "CREATE FUNCTION refuse() RETURNS trigger AS 'BEGIN RAISE EXCEPTION ''not now''; END' LANGUAGE plpgsql",
        f"CREATE TRIGGER no_claims BEFORE UPDATE ON {MESSAGE} EXECUTE FUNCTION refuse()",
    ],
    [f"DROP TRIGGER no_claims ON {MESSAGE}"],
)
READ_ONLY = (
    ["ALTER SYSTEM SET default_transaction_read_only = on", RELOAD],
    ["ALTER SYSTEM SET default_transaction_read_only = off", RELOAD],
)
#: As after a failover, when a name still leads to the old server: who connected meanwhile can never write.
READ_ONLY_CONNECTIONS = (
    ["ALTER ROLE postgres SET default_transaction_read_only = on"],
    ["BEGIN READ WRITE; ALTER ROLE postgres RESET default_transaction_read_only; COMMIT"],
)
FAULTS = {
    "failing claims": FAILING_CLAIMS,
    "read only": READ_ONLY,
    "read-only connections": READ_ONLY_CONNECTIONS,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_server_that_refuses_for_a_while_is_served_again(
    project: Project, server: OwnPostgres, fault: tuple[list[str], list[str]]
) -> None:
    project.write(server.database())
    ids = set(project.run("for _ in range(40): print(short.send(5).message_id)"))
    begin, end = fault
    for statement in begin:
        server.say(statement)
    workers = project.start()
    eventually(lambda: "not now" in workers.log or "read-only" in workers.log, within_s=20)
    assert project.ids("start") == {}
    for statement in end:
        server.say(statement)
    all_ended(project, ids)
    assert set(project.ids("start").values()) == {1}
    assert workers.stop() == 0


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs pgbouncer")
def test_behind_a_pooler_by_transaction_workers_say_so_once_and_look_often(
    project: Project, server: OwnPostgres
) -> None:
    with server.pooled() as port:
        project.write({**server.database(port), "DISABLE_SERVER_SIDE_CURSORS": True}, processes=1)
        workers = project.start(until=lambda w: "do not arrive" in w.log)
        ids = set(project.run("for _ in range(40): print(short.send(5).message_id)"))
        all_ended(project, ids)
        assert workers.stop() == 0
        assert workers.log.count("do not arrive") == 1
        shown = project.run(SHOW)
    assert shown == ["auto"]
