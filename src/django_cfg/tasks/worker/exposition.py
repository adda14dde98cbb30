"""A small process of `rundramatiq` that answers probes and serves the Prometheus metrics of all its workers.

Workers write their numbers into files of a shared directory; this process adds them up at each scrape.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dramatiq.logging import get_logger

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.worker.address import Address, parse
from django_cfg.tasks.worker.child import stop_pipe
from django_cfg.tasks.worker.keeper import wait_for_the_end
from django_cfg.tasks.worker.metric_files import shared_directory
from django_cfg.tasks.worker.pages import Pages, serving
from django_cfg.tasks.worker.supervisor import Main

logger = get_logger(__name__)
#: The socket that an earlier program of this process, or its supervisor, listens on.
LISTENER = "RUNDRAMATIQ_PROBE_SOCKET"
BACKLOG = 64
#: What Dramatiq's own middleware reads.
HOST, PORT = "dramatiq_prom_host", "dramatiq_prom_port"


@contextmanager
def process(broker: EngineBroker, settings: TaskSettings, probe: str | None) -> Iterator[list[Main]]:
    """The process to run beside the workers, if probes or metrics are on. A port that is taken stops the start.

    Parameters:
        probe: `host:port`; None: what the settings say.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    asked = probe or settings.probe
    if not (asked or settings.prometheus_enabled):
        yield []
        return
    address = parse(asked) if asked else metrics_address()
    with _listen(address) as listener, _counting(settings.prometheus_enabled):
        os.environ[LISTENER] = f"{os.getpid()} {listener.fileno()}"
        os.set_inheritable(listener.fileno(), True)
        host, port = listener.getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        logger.info("Probes are answered on %s/livez and %s/readyz.", where, where)
        if settings.prometheus_enabled:
            logger.info("Metrics are served on %s/metrics.", where)
        yield [("probe", partial(serve, listener, Pages(broker, with_metrics=settings.prometheus_enabled)))]


def metrics_address() -> Address:
    """Where metrics are served when nobody asked for a probe."""
    return parse(f"{os.environ.get(HOST, '127.0.0.1')}:{os.environ.get(PORT, '9191')}")


@contextmanager
def _counting(is_needed: bool) -> Iterator[None]:
    """Numbers of many processes need files, and the client decides between files and memory at import."""
    if not is_needed:
        yield
        return
    from prometheus_client import values

    with shared_directory():
        values.ValueClass = values.get_value_class()
        yield


def _listen(address: Address) -> socket.socket:
    owner, _, descriptor = os.environ.get(LISTENER, "").partition(" ")
    if owner in {str(os.getpid()), str(os.getppid())}:
        return socket.socket(fileno=int(descriptor))
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"probes and metrics cannot be served on {address} ({error}); choose another address with --probe "
            f"host:port, or {HOST} and {PORT} for metrics alone; port 0 takes a free one"
        ) from error


def serve(listener: socket.socket, pages: Pages, leash: int) -> None:
    """Answer until SIGTERM or until the supervisor is gone."""
    wake = stop_pipe()
    with serving(listener, pages):
        wait_for_the_end((), wake, leash)
