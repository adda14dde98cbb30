"""A PostgreSQL server, and a pooler before it, of one test alone, so that it may be stopped in its work."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from django_cfg.testing.waiting import eventually

#: The server and the pooler refuse to run as root.
SERVICE_USER = "postgres"


def binaries() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian puts them."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).parent
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return kept[-1].parent if kept else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_service(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    """Start this as somebody who is not root."""
    owner = pwd.getpwnam(SERVICE_USER) if os.getuid() == 0 else None
    who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    return subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who, **more)


class OwnPostgres:
    """A cluster in a directory of its own."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.home, self.port = home, free_port()
        self._programs = programs
        self._run("initdb", "-D", str(home / "data"), "-A", "trust", "-U", "postgres", "-N")

    def _run(self, program: str, *words: str) -> None:
        done = as_service([str(self._programs / program), *words]).wait(60)
        assert done == 0, (program, words, done)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-D", str(self.home / "data"), "-w", "-o", options, "-l", str(self.home / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.home / "data"), "-w", "-m", mode, "stop")

    def say(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the operator."""
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]  # texts of these tests
            return cursor.fetchall() if cursor.description else []

    def database(self, port: int | None = None) -> dict[str, Any]:
        """The entry of DATABASES."""
        engine = "django.db.backends.postgresql"
        return {
            "ENGINE": engine,
            "HOST": "127.0.0.1",
            "PORT": port or self.port,
            "USER": "postgres",
            "NAME": "postgres",
        }

    @contextmanager
    def pooled(self) -> Iterator[int]:
        """A pooler that hands its connections out by the transaction; the port that it listens on."""
        port, config = free_port(), self.home / "pgbouncer.ini"
        users = self.home / "users.txt"
        users.write_text('"postgres" ""\n')
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
            "unix_socket_dir =\nignore_startup_parameters = extra_float_digits\n"
        )
        process = as_service(["pgbouncer", str(config)])
        try:
            eventually(lambda: _answers(port))
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A running server that is gone afterwards."""
    programs = binaries()
    assert programs is not None, "the programs of PostgreSQL are not installed"
    home = Path(tempfile.mkdtemp(prefix="django-cfg-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(home, SERVICE_USER, SERVICE_USER)
    try:
        server = OwnPostgres(home, programs)
        server.start()
        try:
            yield server
        finally:
            if (home / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
