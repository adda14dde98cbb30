"""With 100,000 messages scheduled for later, what runs now is found by index, on every database."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connections

from django_cfg.tasks.brokers.database import at_once
from django_cfg.tasks.brokers.database.broker import DatabaseBroker
from django_cfg.tasks.brokers.database.statements import READY
from django_cfg.tasks.models import QueueMessage
from django_cfg.testing.contracts import QUEUE, Client, message

pytestmark = pytest.mark.django_db(transaction=True, databases=list(settings.DATABASES))
TABLE = QueueMessage._meta.db_table
DOUBLINGS = 17  # of one row: 131,072


@pytest.fixture(
    params=[
        "sqlite_broker",
        pytest.param("postgres_broker", marks=pytest.mark.postgres),
        pytest.param("mariadb_broker", marks=pytest.mark.mariadb),
    ]
)
def broker(request: pytest.FixtureRequest) -> DatabaseBroker:
    """Half of what is scheduled is of the queue that is asked, half of another; ten messages are ready."""
    made: DatabaseBroker = request.getfixturevalue(request.param)
    for name in (QUEUE, "other"):
        made.enqueue(message(queue=name).copy(message_id=name), delay=3_600_000)
    _double(made)
    made.enqueue_many([message("work", n) for n in range(10)])
    return made


def _double(broker: DatabaseBroker) -> None:
    names = [f.column for f in QueueMessage._meta.concrete_fields if f.column not in ("id", "message_id")]
    is_mysql = connections[broker.alias].vendor == "mysql"
    longer = "CONCAT(message_id, %s)" if is_mysql else "message_id || CAST(%s AS char(1))"
    copy = f"INSERT INTO {TABLE} (message_id, {', '.join(names)}) SELECT {longer}, {', '.join(names)} FROM {TABLE}"
    with connections[broker.alias].cursor() as cursor:
        for number in range(DOUBLINGS - 1):
            cursor.execute(copy, [chr(ord("a") + number)])
        cursor.execute(f"ANALYZE TABLE {TABLE}" if is_mysql else f"ANALYZE {TABLE}")


def plan(broker: DatabaseBroker, statement: str, values: list[object]) -> str:
    connection = connections[broker.alias]
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{word} {statement}", values)
        return "\n".join(" ".join(str(value) for value in row) for row in cursor.fetchall())


def reads_everything(broker: DatabaseBroker, shown: str) -> bool:
    """Whether a plan goes through the whole table of messages."""
    vendor = connections[broker.alias].vendor
    if vendor == "postgresql":
        return f"Seq Scan on {TABLE}" in shown
    if vendor == "sqlite":
        return any(f"SCAN {TABLE}" in line and "USING" not in line for line in shown.splitlines())
    return any(f" {TABLE} ALL " in f" {line} " for line in shown.splitlines())


def test_an_exchange_finds_what_runs_now_without_reading_the_whole_table(broker: DatabaseBroker) -> None:
    sql, queues = broker.sql, [QUEUE, "mail"]
    twice, thrice = [q for q in queues for _ in range(2)], [q for q in queues for _ in range(3)]
    claim = [QUEUE, 10] if connections[broker.alias].vendor == "mysql" else [1, 1, QUEUE, 10]
    statements: dict[str, list[object]] = {
        sql.glance(2, 3): [1, 1, 1, 2, 3, *twice],
        sql.has_work(2): list(thrice),
        sql.due(2): list(queues),
        sql.claim(READY, 1): list(claim),
    }
    if sql.dialect.at_once:
        statements[at_once.statement(sql, with_results=False)] = [1, 1, "{1}", "{1}", 1, queues, True, 10, 10, 1]
    shown = {statement: plan(broker, statement, values) for statement, values in statements.items()}
    assert [text for text in shown.values() if reads_everything(broker, text)] == []
    assert "dcfg_msg_claim" in shown[sql.claim(READY, 1)]
    assert "dcfg_msg_due" in shown[sql.due(2)]
    broker.enqueue(message("soon"), delay=1)
    assert len(Client(broker).claim(count=20)) >= 10


@pytest.mark.postgres
def test_the_busy_tables_are_cleaned_up_early(postgres_broker: DatabaseBroker) -> None:
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [TABLE])
        (options,) = cursor.fetchone()
    assert "autovacuum_vacuum_threshold=1000" in options
    assert "autovacuum_vacuum_cost_delay=0" in options


@pytest.mark.postgres
def test_no_text_that_is_written_for_each_task_has_a_second_index(postgres_broker: DatabaseBroker) -> None:
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_indexes WHERE tablename LIKE 'django_cfg_tasks_%%' AND indexdef LIKE %s",
            ["%pattern_ops%"],
        )
        assert cursor.fetchall() == [("django_cfg_tasks_schedule",)]
