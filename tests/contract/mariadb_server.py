"""A MariaDB server of a test's own; may be killed as by a power failure and started again."""

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

from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import free_port

NAME = "own"
SERVERS = ("mariadbd", "mysqld")
INSTALLER = "mariadb-install-db"


class OwnMariaDB:
    """A server on a free port with its data below `directory`. It refuses to run as root, so it runs as `mysql`."""

    def __init__(self, directory: Path, server: str) -> None:
        self.port = free_port()
        self._data = directory / "data"
        self._user = ["--user=mysql"] if os.geteuid() == 0 else []
        if self._user:
            shutil.chown(directory, "mysql")
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [
            server,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--port={self.port}",
            f"--socket={directory / 'socket'}",
            f"--log-error={directory / 'log'}",
            "--bind-address=127.0.0.1",
            *self._user,
        ]
        install = [INSTALLER, "--no-defaults", f"--datadir={self._data}", "--auth-root-authentication-method=normal"]
        subprocess.run([*install, "--skip-test-db", *self._user], check=True, stdout=subprocess.DEVNULL)

    @property
    def database(self) -> dict[str, Any]:
        """For `DATABASES`."""
        where = {"HOST": "127.0.0.1", "PORT": self.port, "USER": "root", "PASSWORD": "", "NAME": NAME}
        return {"ENGINE": "django.db.backends.mysql", **where, "OPTIONS": {"charset": "utf8mb4"}}

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, within_s=60)

    def _answers(self) -> bool:
        import MySQLdb  # the extra `mysql`

        try:
            connection = MySQLdb.connect(host="127.0.0.1", port=self.port, user="root")
        except MySQLdb.OperationalError:
            return False
        connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4")
        connection.close()
        return True

    def kill(self) -> None:
        """Without a word to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


@contextmanager
def own_mariadb() -> Iterator[OwnMariaDB]:
    server = next((found for name in SERVERS if (found := shutil.which(name, path=_path()))), None)
    if server is None or shutil.which(INSTALLER) is None:
        pytest.skip("MariaDB's own programs are not installed")
    with tempfile.TemporaryDirectory(prefix="django-cfg-mariadb-") as directory:
        started = OwnMariaDB(Path(directory), server)
        started.start()
        try:
            yield started
        finally:
            started.kill()


def _path() -> str:
    """Servers are often not on the path of somebody who is not root."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
