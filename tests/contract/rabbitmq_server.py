"""A RabbitMQ server of a test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_cfg.errors import BrokerError
from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import free_port

#: Debian's own entry changes the user; this is the server's script behind it.
SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")


class OwnRabbit:
    """A node on free ports; may be killed, stopped, and started again on the same data."""

    def __init__(self, directory: Path, script: str) -> None:
        self.port = free_port()
        self._directory = directory
        self._script = script
        self._pid_file = directory / "pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"tests{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(self._pid_file),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [self._script], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, within_s=90)

    def _answers(self) -> bool:
        link = Link(address(self.url))
        try:
            link.connect()
        except BrokerError:
            return False
        link.close()
        return self._pid_file.exists()

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    def control(self, *words: str) -> str:
        """Ask `rabbitmqctl`."""
        command = ["rabbitmqctl", "-q", "-n", self._environment["RABBITMQ_NODENAME"], *words]
        script = Path(self._script).with_name("rabbitmqctl")
        if script.exists():
            command[0] = str(script)
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator stops it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self.pid, number)
        self._process.wait(60)
        self._process = None


@contextmanager
def own_rabbit(directory: Path) -> Iterator[OwnRabbit]:
    script = next((found for name in SCRIPTS if (found := shutil.which(name))), None)
    if script is None:
        if os.environ.get("CI") != "true":
            pytest.skip("rabbitmq-server is not installed")
        pytest.fail("rabbitmq-server is not installed; in CI its tests must run", pytrace=False)
    (directory / "plugins").write_text("[].\n")
    server = OwnRabbit(directory, script)
    server.start()
    try:
        yield server
    finally:
        server.kill()
