"""Where a contestant's work is stored: a server or database of its own, which goes when the contestant is done."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"
SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}


@dataclass(frozen=True)
class Store:
    """A place to store work in.

    Attributes:
        environment: what a contestant's app reads to find it.
        used_bytes: how much it holds now; None where that cannot be told.
    """

    environment: dict[str, str] = field(default_factory=dict)
    used_bytes: Callable[[], int | None] = lambda: None


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for_port(port: int, within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit(f"nothing listens on port {port} after {within_s:.0f} s")


@contextmanager
def running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def delayed(port: int, delay_ms: float) -> Iterator[int]:
    """The port to use so that every byte takes `delay_ms` each way."""
    if not delay_ms:
        yield port
        return
    near = free_port()
    command = (sys.executable, "-m", "benchmarks.proxy", str(near), LOOPBACK, str(port), str(delay_ms))
    with running(*command):
        wait_for_port(near)
        yield near


@contextmanager
def redis(home: Path, delay_ms: float) -> Iterator[Store]:
    """A Redis of our own without persistence."""
    from redis import Redis

    port = free_port()
    with running("redis-server", "--port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(home)):
        wait_for_port(port)
        client = Redis(host=LOOPBACK, port=port)
        with delayed(port, delay_ms) as near:
            url = f"redis://{LOOPBACK}:{near}/0"
            yield Store({"BENCH_URL": url}, lambda: int(client.info("memory")["used_memory"]))
        client.close()


@contextmanager
def postgres(home: Path, delay_ms: float) -> Iterator[Store]:
    """A database on the server that runs; its fsync and synchronous_commit stay as they are."""
    import psycopg

    name, port = database_name(home), 5432
    with psycopg.connect(host=LOOPBACK, user="postgres", dbname="postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            with delayed(port, delay_ms) as near:
                size = f"SELECT pg_database_size('{name}')".encode()
                dsn = f"postgresql://postgres@{LOOPBACK}:{near}/{name}"
                entry = {"ENGINE": "django.db.backends.postgresql", "HOST": LOOPBACK, "PORT": near,
                         "USER": "postgres", "NAME": name}  # fmt: skip
                yield Store(
                    {"BENCH_DSN": dsn, "BENCH_DATABASE": json.dumps(entry), "BENCH_URL": "database://default"},
                    lambda: int((admin.execute(size).fetchone() or [0])[0]),
                )
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@contextmanager
def mariadb(home: Path, delay_ms: float) -> Iterator[Store]:
    """A database on the MariaDB server that runs."""
    name, port = database_name(home), 3306
    client = ("mariadb", "-h", LOOPBACK, "-u", "root", "-e")
    subprocess.run([*client, f"CREATE DATABASE {name}"], check=True)
    try:
        with delayed(port, delay_ms) as near:
            entry = {"ENGINE": "django.db.backends.mysql", "HOST": LOOPBACK, "PORT": near, "USER": "root", "NAME": name}
            yield Store({"BENCH_DATABASE": json.dumps(entry), "BENCH_URL": "database://default"})
    finally:
        subprocess.run([*client, f"DROP DATABASE {name}"], check=True)


@contextmanager
def rabbitmq(home: Path, delay_ms: float) -> Iterator[Store]:
    """A virtual host on the RabbitMQ server that runs."""
    name = database_name(home)
    control = shutil.which("rabbitmqctl") or "rabbitmqctl"
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([control, "add_vhost", name], **quiet)  # type: ignore[call-overload]
    subprocess.run([control, "set_permissions", "-p", name, "guest", ".*", ".*", ".*"], **quiet)  # type: ignore[call-overload]
    try:
        with delayed(5672, delay_ms) as near:
            yield Store({"BENCH_URL": f"amqp://guest:guest@{LOOPBACK}:{near}/{name}"})
    finally:
        subprocess.run([control, "delete_vhost", name], **quiet)  # type: ignore[call-overload]


@contextmanager
def sqlite(home: Path, delay_ms: float) -> Iterator[Store]:
    """A file; the network does not matter to it."""
    path = home / "db.sqlite3"
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": SQLITE}
    yield Store(
        {"BENCH_FILE": str(home / "queue.db"), "BENCH_DATABASE": json.dumps(entry), "BENCH_URL": "database://default"},
        lambda: sum(file.stat().st_size for file in home.glob("*.sqlite3*")) or None,
    )


def database_name(home: Path) -> str:
    return f"django_cfg_bench_{os.getpid()}_{home.name.rpartition('-')[2]}".lower()
