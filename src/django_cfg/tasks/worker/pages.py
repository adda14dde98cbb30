"""What the probe port answers: `/livez`, `/readyz` and, where metrics are on, `/metrics`. One word, no names.

Each connection has a thread and a few seconds in all, and there are at most so many at a time: a client that
drips bytes holds up nobody.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from django_cfg.errors import BrokerError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.worker import roster
from django_cfg.tasks.worker.depths import Depths

#: For one connection in all, in seconds.
DEADLINE_S = 5.0
MOST_CONNECTIONS = 64
TEXT = "text/plain; charset=utf-8"
Answer = tuple[int, str, bytes]


class Pages:
    """The answers, by path."""

    def __init__(self, broker: EngineBroker, *, with_metrics: bool) -> None:
        self._broker = broker
        self._with_metrics = with_metrics
        self._registry: Any = None
        self._lock = threading.Lock()

    def answer(self, path: str, accept: str = "") -> Answer:
        """Status, content type and body."""
        known: dict[str, Callable[[], Answer]] = {"/livez": self._live, "/healthz": self._live, "/readyz": self._ready}
        if self._with_metrics:
            known["/metrics"] = lambda: self._metrics(accept)
        return known.get(path.partition("?")[0], _nothing)()

    def _live(self) -> Answer:
        """This process ends with its supervisor, so an answer is the news. Nothing else is asked: a broker that
        is away is no reason to restart workers."""
        return 200, TEXT, b"ok\n"

    def _ready(self) -> Answer:
        """A worker of this supervisor has announced itself, and the broker answers."""
        try:
            self._broker.ping()
            is_ready = any(w.is_alive and w.is_local and w.supervisor_pid == os.getppid() for w in roster.workers())
        except (BrokerError, DatabaseError, InterfaceError):
            is_ready = False
        finally:
            connections.close_all()  # every request has a thread of its own
        return (200, TEXT, b"ready\n") if is_ready else (503, TEXT, b"not ready\n")

    def _metrics(self, accept: str) -> Answer:
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return 200, content_type, encode(self._collectors())

    def _collectors(self) -> Any:
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        with self._lock:
            if self._registry is None:
                registry = CollectorRegistry()
                MultiProcessCollector(registry)
                registry.register(Depths(self._broker))
                self._registry = registry
        return self._registry


def _nothing() -> Answer:
    return 404, TEXT, b"not found\n"


@contextmanager
def serving(listener: socket.socket, pages: Pages) -> Iterator[None]:
    """Answer in threads while the block runs."""
    server = _Server(listener, pages)
    threading.Thread(target=server.serve_forever, name="probe", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()


class _Server(ThreadingHTTPServer):
    """A server on a socket that already listens; connections above the limit are closed unanswered."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, pages: Pages) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.pages = pages
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        timer = threading.Timer(DEADLINE_S, _cut, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up early or is cut off needs no traceback here."""


def _cut(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "rundramatiq"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        status, content_type, body = self.server.pages.answer(self.path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each probe helps nobody."""
