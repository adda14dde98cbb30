"""Who takes part: our brokers, and the peers on the same servers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import servers
from benchmarks.servers import Store

Commands = list[list[str]]
PYTHON = sys.executable


@dataclass(frozen=True)
class Contestant:
    """One queue and how to run it.

    Attributes:
        app: the module that `benchmarks.producer` sends with.
        workers: command lines for so many processes with so many threads each.
        prepare: command lines that make tables and the like, once.
        packages: distributions whose versions are reported.
    """

    name: str
    app: str
    store: Callable[[Path, float], AbstractContextManager[Store]]
    workers: Callable[[int, int], Commands]
    prepare: tuple[tuple[str, ...], ...] = ()
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


# -- ours --------------------------------------------------------------------------------------------------


@contextmanager
def redis_beside_sqlite(home: Path, delay_ms: float) -> Iterator[Store]:
    """Our Redis broker needs Django's database too, for what is no message."""
    with servers.sqlite(home, 0) as file, servers.redis(home, delay_ms) as server:
        yield Store({**file.environment, **server.environment}, server.used_bytes)


@contextmanager
def redis_beside_postgres(home: Path, delay_ms: float) -> Iterator[Store]:
    """Where every task is recorded, in a database that several processes write to."""
    with servers.postgres(home, delay_ms) as database, servers.redis(home, delay_ms) as server:
        yield Store({**database.environment, **server.environment}, server.used_bytes)


@contextmanager
def rabbitmq_beside_postgres(home: Path, delay_ms: float) -> Iterator[Store]:
    """Our RabbitMQ broker keeps dead letters, long delays and results in Django's database."""
    with servers.postgres(home, delay_ms) as database, servers.rabbitmq(home, delay_ms) as server:
        yield Store({**database.environment, **server.environment}, server.used_bytes)


def rundramatiq(processes: int, threads: int) -> Commands:
    words = ["-m", "django", "rundramatiq", "-p", str(processes), "-t", str(threads), "--log-level", "error"]
    return [[PYTHON, *words]]


def ours(
    name: str,
    store: Callable[[Path, float], AbstractContextManager[Store]],
    *packages: str,
    app: str = "ours",
    **options: object,
) -> Contestant:
    return Contestant(
        name=name,
        app=f"benchmarks.apps.{app}.producer",
        store=store,
        workers=rundramatiq,
        prepare=((PYTHON, "-m", "django", "migrate", "-v0"),),
        packages=("dramatiq", *packages),
        environment={
            "DJANGO_SETTINGS_MODULE": f"benchmarks.apps.{app}.settings",
            "BENCH_OPTIONS": json.dumps(options),
        },
    )


OURS = (
    ours("sqlite", servers.sqlite),
    ours("postgres", servers.postgres, "psycopg"),
    ours("mariadb", servers.mariadb, "mysqlclient"),
    ours("redis", redis_beside_sqlite, "redis"),
    ours("rabbitmq", rabbitmq_beside_postgres, "pika"),
    ours("postgres, all recorded", servers.postgres, "psycopg", admin_enabled=True),
    ours("sqlite, all recorded", servers.sqlite, admin_enabled=True),
    ours("redis, all recorded", redis_beside_postgres, "redis", "psycopg", admin_enabled=True),
    ours("sqlite, Django tasks", servers.sqlite, app="ours_django"),
    ours("postgres, Django tasks", servers.postgres, "psycopg", app="ours_django"),
    ours("redis, Django tasks", redis_beside_sqlite, "redis", app="ours_django"),
)

# -- peers -------------------------------------------------------------------------------------------------


def stock_workers(processes: int, threads: int) -> Commands:
    words = ["-m", "dramatiq", "benchmarks.apps.stock", "--processes", str(processes), "--threads", str(threads)]
    return [[PYTHON, *words, "--skip-logging"]]


def stock_sqlite_workers(processes: int, threads: int) -> Commands:
    words = ["-m", "dramatiq", "benchmarks.apps.dramatiq_sqlite_app", "--skip-logging"]
    return [[PYTHON, *words, "--processes", str(processes), "--threads", str(threads)]]


def celery_workers(processes: int, threads: int) -> Commands:
    words = ["-m", "celery", "-A", "benchmarks.apps.celery_app", "worker", "-P", "threads", "-c", str(threads)]
    return [[PYTHON, *words, "-l", "ERROR", "-n", f"w{number}@bench"] for number in range(processes)]


def rq_workers(processes: int, threads: int) -> Commands:
    """RQ knows no threads: a process for each core is the fastest that it does without forking for each job."""
    code = "from benchmarks.apps.rq_app import queue; from rq import SimpleWorker; " \
           "SimpleWorker([queue], connection=queue.connection).work(logging_level='ERROR')"  # fmt: skip
    return [[PYTHON, "-c", code]] * processes


def huey_workers(processes: int, threads: int) -> Commands:
    words = ["-m", "huey.bin.huey_consumer", "benchmarks.apps.huey_app.huey", "-k", "thread", "-q", "-n"]
    return [[PYTHON, *words, "-w", str(threads)]] * processes


def procrastinate_workers(processes: int, threads: int) -> Commands:
    words = ["-m", "procrastinate", "--app", "benchmarks.apps.procrastinate_app.app", "worker", "-c", str(threads)]
    return [[PYTHON, *words]] * processes


def pgqueuer_workers(processes: int, threads: int) -> Commands:
    """Not by its command, which fails with the release of typer that its own requirements allow."""
    return [[PYTHON, "-c", "from benchmarks.apps.pgqueuer_app import work; work()"]] * processes


def db_workers(processes: int, threads: int) -> Commands:
    """It knows no threads: as many processes as the others have threads."""
    return [[PYTHON, "-m", "django", "db_worker", "--interval", "0.1", "-v0"]] * (processes * threads)


def dtdb(name: str, store: Callable[[Path, float], AbstractContextManager[Store]]) -> Contestant:
    return Contestant(
        name=name,
        app="benchmarks.apps.django_tasks_db_app.producer",
        store=store,
        workers=db_workers,
        prepare=((PYTHON, "-m", "django", "migrate", "-v0"),),
        packages=("django-tasks-db",),
        environment={"DJANGO_SETTINGS_MODULE": "benchmarks.apps.django_tasks_db_app.settings"},
    )


#: The yardstick of every run.
STOCK = Contestant("Dramatiq, Redis", "benchmarks.apps.stock", servers.redis, stock_workers, (), ("dramatiq", "redis"))

PEERS = (
    # It waits less when it may hold more; the figure beside which a ratio says more of the engine than of its sleeps.
    Contestant(
        "Dramatiq, Redis, prefetch 128",
        "benchmarks.apps.stock",
        servers.redis,
        stock_workers,
        (),
        ("dramatiq", "redis"),
        {"dramatiq_queue_prefetch": "128"},
    ),
    Contestant("Dramatiq, RabbitMQ", "benchmarks.apps.stock", servers.rabbitmq, stock_workers, (), ("pika",)),
    Contestant("Celery, Redis", "benchmarks.apps.celery_app", servers.redis, celery_workers, (), ("celery",)),
    Contestant("Celery, RabbitMQ", "benchmarks.apps.celery_app", servers.rabbitmq, celery_workers, (), ("celery",)),
    Contestant("RQ", "benchmarks.apps.rq_app", servers.redis, rq_workers, (), ("rq",)),
    Contestant("Huey, Redis", "benchmarks.apps.huey_app", servers.redis, huey_workers, (), ("huey",)),
    Contestant("Huey, SQLite", "benchmarks.apps.huey_app", servers.sqlite, huey_workers, (), ("huey",)),
    Contestant(
        "dramatiq-sqlite",
        "benchmarks.apps.dramatiq_sqlite_app",
        servers.sqlite,
        stock_sqlite_workers,
        (),
        ("dramatiq-sqlite",),
    ),
    Contestant(
        "procrastinate",
        "benchmarks.apps.procrastinate_app",
        servers.postgres,
        procrastinate_workers,
        ((PYTHON, "-m", "procrastinate", "--app", "benchmarks.apps.procrastinate_app.app", "schema", "--apply"),),
        ("procrastinate",),
    ),
    Contestant(
        "pgqueuer",
        "benchmarks.apps.pgqueuer_app",
        servers.postgres,
        pgqueuer_workers,
        ((PYTHON, "-m", "pgqueuer", "install"),),
        ("pgqueuer", "asyncpg"),
    ),
    dtdb("django-tasks-db, PostgreSQL", servers.postgres),
    dtdb("django-tasks-db, SQLite", servers.sqlite),
)
