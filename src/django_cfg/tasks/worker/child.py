"""One worker process: made by a fork, ended by SIGTERM or by the end of its supervisor."""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import sys
from collections.abc import Sequence

from dramatiq.logging import get_logger

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.tasks.worker.supervisor import STOP_SIGNALS

logger = get_logger(__name__)
PR_SET_PDEATHSIG = 1
ORPHAN_TIMEOUT_MS = 4_000


def run(broker: EngineBroker, queues: Sequence[str], threads: int, leash: int) -> None:
    """Serve until told to stop.

    Parameters:
        leash: the read end of a pipe that the supervisor holds; its end means that the supervisor is gone.
    """
    _die_with_parent()
    random.seed()
    wake, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.signal(signal.SIGTERM, lambda *_: os.write(ring, b"t"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked since before the fork
    broker.emit_after("process_boot")
    worker = EngineWorker(broker, queues=queues, worker_threads=threads)
    worker.start()
    readable, _, _ = select.select([wake, leash], [], [])
    orphaned = leash in readable
    if orphaned:
        logger.warning("The supervisor is gone; stopping.")
    worker.stop(timeout=ORPHAN_TIMEOUT_MS if orphaned else broker.settings.shutdown_timeout_ms)
    broker.close()


def _die_with_parent() -> None:
    """On Linux the kernel also tells us when the supervisor dies; elsewhere the pipe does it alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
