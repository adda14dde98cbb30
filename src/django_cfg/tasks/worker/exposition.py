"""A small process of `rundramatiq` that serves the Prometheus metrics of all its workers.

Workers write their numbers into files of a shared directory; this process adds them up at each scrape. It
listens on 127.0.0.1:9191 unless the variables `dramatiq_prom_host` and `dramatiq_prom_port` say otherwise
(the names that Dramatiq's own middleware uses); port 0 takes a free one.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from dramatiq.logging import get_logger

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.worker.supervisor import STOP_SIGNALS, Main

logger = get_logger(__name__)
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
BACKLOG = 16


@contextmanager
def process(is_enabled: bool) -> Iterator[list[Main]]:
    """The process to run beside the workers, if metrics are on. The port is taken here: a taken one stops the start.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    if not is_enabled:
        yield []
        return
    with _listen() as listener, _shared_directory():
        host, port = listener.getsockname()[:2]
        logger.info("Metrics are served on http://%s:%d/metrics.", host, port)
        yield [("metrics", partial(serve, listener))]


@contextmanager
def _shared_directory() -> Iterator[None]:
    """Numbers of many processes need files, and the client decides between files and memory at import."""
    from prometheus_client import values

    with tempfile.TemporaryDirectory(prefix="rundramatiq-metrics-") as fallback:
        os.environ.setdefault(DIRECTORY, fallback)
        os.makedirs(os.environ[DIRECTORY], exist_ok=True)
        values.ValueClass = values.get_value_class()
        yield


def _listen() -> socket.socket:
    host = os.environ.get("dramatiq_prom_host", "127.0.0.1")  # noqa: SIM112 - Dramatiq's own names
    port = os.environ.get("dramatiq_prom_port", "9191")  # noqa: SIM112 - as above
    try:
        return socket.create_server((host, int(port)), backlog=BACKLOG)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"metrics cannot be served on {host}:{port} ({error}); "
            "set dramatiq_prom_host and dramatiq_prom_port, port 0 takes a free one"
        ) from error


def serve(listener: socket.socket, leash: int) -> None:
    """Answer scrapes until SIGTERM or until the supervisor is gone."""
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.multiprocess import MultiProcessCollector

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake, ring = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(ring, b"t"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    server = _Server(listener, make_wsgi_app(registry))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    select.select([wake, leash], [], [])
    server.shutdown()


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server on a socket that already listens; one slow client does not hold up the next."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, app: Any) -> None:
        super().__init__(listener.getsockname()[:2], _QuietHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)


class _QuietHandler(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: Any) -> None:
        """A line for each scrape helps nobody."""
