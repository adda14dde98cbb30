"""A Redis server of a test's own, and a proxy that loses answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from django_cfg.testing.waiting import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnServer:
    """`redis-server` on a free port; may be killed, stopped and started again on the same data."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.socket = directory / "redis.sock"
        self._command = ["redis-server", "--port", str(self.port), "--dir", str(directory), "--save", "", *options]
        self._command += ["--unixsocket", str(self.socket), "--bind", "127.0.0.1"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def admin(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2, decode_responses=True)

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with self.admin() as admin:
            eventually(lambda: self._answers(admin), within_s=10)

    @staticmethod
    def _answers(admin: redis.Redis) -> bool:
        try:
            return bool(admin.ping())
        except RedisConnectionError:
            return False

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)


@contextmanager
def own_server(directory: Path, *options: str) -> Iterator[OwnServer]:
    if shutil.which("redis-server") is None and os.environ.get("CI") != "true":
        pytest.skip("redis-server is not installed")
    server = OwnServer(directory, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class LosingProxy:
    """Passes bytes on both ways; told so, it lets a command through and cuts the connection instead of answering."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lost = 0
        self._to_lose = b""
        self._times = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_answer_to(self, part: str, times: int = 1) -> None:
        """Lose the answers to the next commands that hold this text."""
        self._to_lose, self._times = part.encode(), times

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            try:
                self._pump(client, server)
            except OSError:
                pass  # one of the two went away
            _end(server)
            back.join()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            loses = self._times > 0 and self._to_lose in data
            if loses:
                self._times -= 1
                self.lost += 1
                _end(client)  # first, so that the answer finds nobody
            server.sendall(data)

    def close(self) -> None:
        _end(self._listener)  # wakes the thread that accepts
        self._listener.close()


def _copy(server: socket.socket, client: socket.socket) -> None:
    try:
        while data := server.recv(65536):
            client.sendall(data)
    except OSError:
        pass  # one of the two went away
    _end(client)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already


@contextmanager
def losing_proxy(port: int) -> Iterator[LosingProxy]:
    proxy = LosingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
