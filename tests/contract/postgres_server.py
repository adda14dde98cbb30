"""A PostgreSQL server of a test's own; may be stopped as by a power failure and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.redis_server import free_port


def programs() -> Path | None:
    """Where `initdb` and `pg_ctl` are; Debian keeps them apart from PATH."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return candidates[-1] if candidates else None


class OwnPostgres:
    """A server on a free port with its data below `directory`. It refuses to run as root, so it runs as `postgres`."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.port = free_port()
        self._programs = programs
        self._data = directory / "data"
        self._log = directory / "log"
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._prefix:
            shutil.chown(directory, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")

    @property
    def database(self) -> dict[str, Any]:
        """For `DATABASES`."""
        engine = "django.db.backends.postgresql"
        return {"ENGINE": engine, "HOST": "127.0.0.1", "PORT": self.port, "USER": "postgres", "NAME": "postgres"}

    def start(self) -> None:
        options = f"-p {self.port} -k {self._data} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self._log), "-o", options, "-w", "start")

    def kill(self) -> None:
        """Without a checkpoint and without a word to its clients."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [*self._prefix, str(self._programs / program), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's own programs are not installed")
    with tempfile.TemporaryDirectory(prefix="django-cfg-postgres-") as directory:
        server = OwnPostgres(Path(directory), found)
        server.start()
        try:
            yield server
        finally:
            server.kill()
