"""`python3 dev.py bench records`: two million records, and how long each command and page takes on them.

The rows are made inside the database: 40 tasks on 8 queues over 60 days, one in a hundred dead, one in two hundred
about to be retried. What is printed is the fastest of three calls, in milliseconds, and whether a plan reads the whole
table of records. Times of different machines must not be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

#: Questions of the shell; ID and CURSOR stand for those of a record that is there.
QUESTIONS: dict[str, list[str]] = {
    "list": ["list"],
    "list state:failed": ["list", "state:failed"],
    "list state:completed": ["list", "state:completed"],
    "list task:t7": ["list", "task:t7"],
    "list task:t7 state:failed": ["list", "task:t7", "state:failed"],
    "list queue:q3 state:failed,retrying": ["list", "queue:q3", "state:failed,retrying"],
    "list before:40d": ["list", "before:40d"],
    "list since:1h task:none": ["list", "since:1h", "task:none"],
    "list --after": ["list", "--after", "CURSOR"],
    "list state:failed error:nowhere": ["list", "state:failed", "error:nowhere"],
    "list error:nowhere": ["list", "error:nowhere"],
    "show": ["show", "ID"],
    "failures": ["failures"],
    "stats --since 7d": ["stats", "--since", "7d"],
    "audit": ["audit"],
}
PAGES = (
    *("taskrecord/", "taskrecord/?q=state:failed", "taskrecord/?q=task:t7", "taskrecord/?q=state:completed"),
    *("taskrecord/ID/change/", "attempt/", "errorgroup/", "deadletter/", "queue/", "worker/", "operatoraction/"),
    "overview/",
)
#: The same moment for both: now minus up to 60 days, later rows younger.
SERIES = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) ",
        "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || (5184000.0 * ({last} - i) / {last}) || ' seconds') || '000'",
        "lower(hex(randomblob(16)))",
    ),
    "postgresql": (
        "WITH n(i) AS (SELECT generate_series(0, {last})) ",
        "now() - interval '60 days' * ({last} - i) / {last}",
        "md5(i::text)",
    ),
}


def configure(database: dict[str, Any]) -> None:
    import django
    from django.conf import settings

    contrib = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions", "messages")]
    settings.configure(
        SECRET_KEY="benchmark",
        USE_TZ=True,
        INSTALLED_APPS=["django_cfg.apps.tasks", *contrib],
        DATABASES={"default": database},
        DJANGO_CFG_TASKS={"admin_enabled": True},
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        STATIC_URL="static/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        f"django.{place}"
                        for place in (
                            "template.context_processors.request",
                            "contrib.auth.context_processors.auth",
                            "contrib.messages.context_processors.messages",
                        )
                    ]
                },
            }
        ],
    )
    django.setup()


def __getattr__(name: str) -> Any:
    """This module is also the URLs of the site that it measures; those exist only after `configure`."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib import admin
    from django.urls import path

    return [path("admin/", admin.site.urls)]


def fill(total: int) -> None:
    """Make the rows in the database itself; a client would need minutes to send them."""
    from django.db import connection

    from django_cfg.tasks.models import Attempt, TaskRecord

    series, at, key = (text.format(last=total - 1) for text in SERIES[connection.vendor])
    failed = "i % 100 = 7 OR i % 200 = 11"
    record = {
        "message_id": key, "task": "'t' || ((i % 1000) * 7919 % 40)", "queue": "'q' || ((i % 1000) * 7919 % 8)",
        "state": "CASE WHEN i % 100 = 7 THEN 'dead_letter' WHEN i % 200 = 11 THEN 'retrying' ELSE 'completed' END",
        "attempts": "1", "retries": "0", "wait_ms": "i % 977", "run_ms": "i % 5003", "enqueued_at": at,
        "started_at": at, "finished_at": at, "updated_at": at, "worker": "'h:1'", "arguments": """'{"order":12345}'""",
        "result": "'null'", "reason": "''", "error_type": f"CASE WHEN {failed} THEN 'ValueError' ELSE '' END",
        "error": f"CASE WHEN {failed} THEN 'the card is not valid' ELSE '' END",
        "fingerprint": f"CASE WHEN {failed} THEN 'f' || (i % 500) ELSE '' END", "tags": "''", "parent_id": "''",
        "retry_of": "''", "log": "''", "progress_note": "''", "generation": "1", "order_key": "1",
    }  # fmt: skip
    attempt = {
        "message_id": key, "generation": "1", "fence": "1", "ended_as": "'retry'", "error_type": "'ValueError'",
        "error": "'the card is not valid'", "traceback": "'Traceback'", "fingerprint": "'f' || (i % 500)", "log": "''",
        "wait_ms": "1", "run_ms": "1", "ended_at": at, "worker": "'host:1'",
    }  # fmt: skip
    with connection.cursor() as cursor, indexed_afterwards(cursor, [TaskRecord, Attempt]):
        for model, columns, where in ((TaskRecord, record, ""), (Attempt, attempt, f" WHERE {failed}")):
            head = f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "
            body = f"SELECT {', '.join(columns.values())} FROM n{where}"
            # PostgreSQL wants WITH in front of INSERT or of SELECT, SQLite takes both.
            cursor.execute(f"{head}{series}{body}")
    _fill_small()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@contextlib.contextmanager
def indexed_afterwards(cursor: Any, models: Sequence[Any]) -> Iterator[None]:
    """PostgreSQL builds the indexes of a full table in a fraction of the time."""
    if cursor.db.vendor != "postgresql":
        yield
        return
    tables = [model._meta.db_table for model in models]
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        [tables],
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    yield
    for _, definition in indexes:
        cursor.execute(definition)


def _fill_small() -> None:
    from django.utils import timezone

    from django_cfg.tasks.models import ErrorGroup, Grain, OperatorAction, Rollup

    now = timezone.now()
    Rollup.objects.bulk_create(
        Rollup(
            grain=grain, starts_at=now.replace(minute=0, second=0, microsecond=0) - ago * length, queue="q1",
            task=f"t{n}", attempts=10, waits=json.dumps({str(b): b for b in range(40)}), runs=json.dumps({"40": 10}),
        )
        for grain, length in ((Grain.MINUTE, timedelta(minutes=1)), (Grain.HOUR, timedelta(hours=1)))
        for ago in range(60)
        for n in range(40)
    )  # fmt: skip
    many = {"queue": "q1", "error_type": "ValueError", "first_seen": now, "last_seen": now}
    ErrorGroup.objects.bulk_create(
        ErrorGroup(fingerprint=f"f{n}", task=f"t{n % 40}", seen=n, **many) for n in range(500)
    )
    act = {"at": now, "actor": "op", "source": "admin", "action": "retry", "outcome": "done"}
    OperatorAction.objects.bulk_create(OperatorAction(**act) for _ in range(10_000))


def fastest_ms(act: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def ask() -> dict[str, tuple[float, list[str]]]:
    """Time of each question, and the queries in it that read all records."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client

    from django_cfg.tasks.models import TaskRecord
    from django_cfg.tasks.records.reading import cursor_of

    newest = list(TaskRecord.objects.order_by("-updated_at", "-message_id")[:50])
    known = {"ID": newest[0].message_id, "CURSOR": cursor_of(newest[-1])}
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("op", "op@example.com", "x"))
    found: dict[str, Callable[[], Any]] = {}
    for name, words in QUESTIONS.items():
        given = [known.get(word, word) for word in words]
        found[name] = lambda given=given: call_command("dramatiq_tasks", *given, "--json", stdout=io.StringIO())
    found["dramatiq_status"] = lambda: call_command("dramatiq_status", "--verbose", stdout=io.StringIO())
    found["dramatiq_prune --dry-run"] = lambda: call_command("dramatiq_prune", "--dry-run", stdout=io.StringIO())
    for page in PAGES:
        address = "/admin/django_cfg_tasks/" + page.replace("ID", known["ID"])
        found[f"page {page}"] = lambda address=address: _opened(client, address)
    return {name: (fastest_ms(act), whole_reads(act)) for name, act in found.items()}


def _opened(client: Any, address: str) -> None:
    answer = client.get(address)
    if answer.status_code != 200:
        raise SystemExit(f"{address}: {answer.status_code}")


def whole_reads(act: Callable[[], Any]) -> list[str]:
    """The queries about records whose plan is no walk along an index."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_cfg.tasks.models import TaskRecord

    with CaptureQueriesContext(connection) as asked:
        act()
    table = TaskRecord._meta.db_table
    found = []
    for query in asked.captured_queries:
        sql = query["sql"]
        if table in sql and sql.startswith("SELECT") and reads_all(plan_of(sql), table):
            found.append(sql)
    return found


def plan_of(sql: str) -> str:
    from django.db import connection

    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.cursor.execute(f"{word} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def reads_all(plan: str, table: str) -> bool:
    """Whether a plan reads the table itself from end to end."""
    lines = plan.splitlines()
    if any("Seq Scan on" in line and table in line for line in lines):
        return True
    return any(line.startswith(f"SCAN {table}") and "INDEX" not in line for line in lines)


def one(kind: str, total: int, name: str) -> None:
    from django.core.management import call_command

    postgres = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "USER": "postgres", "NAME": name}
    configure(postgres if kind == "postgres" else {"ENGINE": "django.db.backends.sqlite3", "NAME": name})
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    fill(total)
    print(f"\n{kind}: {total:,} records made in {time.perf_counter() - began:.0f} s", flush=True)
    slow, limit_ms = 0, 300 if kind == "postgres" else 1000
    for question, (ms, reads) in ask().items():
        slow += ms > limit_ms
        print(f"{ms:9.1f} ms  {question}{'  READS THE WHOLE TABLE: ' + reads[0] if reads else ''}", flush=True)
    print(f"{slow} questions took longer than {limit_ms} ms.")


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench records", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="records (2000000)")
    parser.add_argument("--database", action="append", choices=("sqlite", "postgres"), help="default: both")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.inside:
        one(options.database[0], options.rows, options.inside)
        return
    for kind in options.database or ("sqlite", "postgres"):
        with tempfile.TemporaryDirectory(prefix="django-cfg-records-") as folder:
            apart(kind, options.rows, Path(folder))


def apart(kind: str, rows: int, home: Path) -> None:
    """A process of its own for each database, and a database that goes with it."""
    name = str(home / "db") if kind == "sqlite" else f"django_cfg_records_{uuid.uuid4().hex[:8]}"
    if kind == "postgres":
        psql(f'CREATE DATABASE "{name}"')
    command = [sys.executable, "-m", "benchmarks.records", "--rows", str(rows), "--database", kind, "--inside", name]
    try:
        subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    finally:
        if kind == "postgres":
            psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def psql(statement: str) -> None:
    subprocess.run(["psql", "-qh", "127.0.0.1", "-U", "postgres", "-c", statement], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
