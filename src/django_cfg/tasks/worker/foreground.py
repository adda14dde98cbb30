"""A worker in this very process: until so many tasks have run, until nothing is left, or until it is told to stop."""

from __future__ import annotations

import math
import os
import select
import signal
from collections.abc import Sequence

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.tasks.worker.registry import announced
from django_cfg.tasks.worker.signalling import signalling, this_worker

LOOK_S = 0.02


def run(broker: EngineBroker, queues: Sequence[str], threads: int, *, most_runs: int | None, is_batch: bool) -> int:
    """Serve, and return how many tasks ran.

    Parameters:
        most_runs: end after so many; None: any number.
        is_batch: end as soon as nothing is ready.
    """
    wake = _stop_pipe()
    broker.emit_after("process_boot")
    worker = EngineWorker(broker, queues=queues, worker_threads=threads)
    worker.exchange.most_runs = math.inf if most_runs is None else most_runs
    worker.start()
    with announced(worker), signalling(this_worker(queues, threads)):
        while not _is_over(worker, is_batch) and not select.select([wake], [], [], LOOK_S)[0]:
            pass
        worker.stop(timeout=broker.settings.shutdown_timeout_ms)
    broker.close()
    return worker.exchange.runs


def _is_over(worker: EngineWorker, is_batch: bool) -> bool:
    exchange = worker.exchange
    return exchange.runs >= exchange.most_runs or (is_batch and exchange.is_dry and exchange.is_idle)


def _stop_pipe() -> int:
    """Readable after the first signal to stop; the second one ends the process at once."""
    wake, ring = os.pipe()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.write(ring, b"s")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return wake
