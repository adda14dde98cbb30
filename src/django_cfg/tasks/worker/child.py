"""One worker process: made by a fork, ended by SIGTERM, by a drain or by the end of its supervisor."""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from dramatiq.logging import get_logger

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.log.apart import apart
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.tasks.worker.ledger import Bank, Ledger, Ledgers
from django_cfg.tasks.worker.metric_files import count_in
from django_cfg.tasks.worker.registry import announced
from django_cfg.tasks.worker.signalling import signalling, this_worker
from django_cfg.tasks.worker.stacks import stacks
from django_cfg.tasks.worker.supervisor import DRAIN, HELD_SIGNALS, RELOAD, SHOW
from django_cfg.tasks.worker.threads import EngineThread

logger = get_logger(__name__)
PR_SET_PDEATHSIG = 1
ORPHAN_TIMEOUT_MS = 4_000
LOOK_S = 0.05
TERM, DRAINED, SHOWN = b"t", b"d", b"s"


def run(broker: EngineBroker, queues: Sequence[str], threads: int, ledgers: Ledgers, bank: Bank, leash: int) -> None:
    """Serve until told to stop.

    Parameters:
        bank: its own memory among the ledgers.
        leash: the read end of a pipe that the supervisor holds; its end means that the supervisor is gone.
    """
    with apart() as writer:
        _serve(broker, queues, threads, ledgers, bank, leash)
    if writer.is_alive():
        os._exit(0)  # nobody reads the log, and flushing it at a normal end would wait for ever


def _serve(broker: EngineBroker, queues: Sequence[str], threads: int, ledgers: Ledgers, bank: Bank, leash: int) -> None:
    die_with_parent()
    random.seed()
    wake = stop_pipe()
    broker.settings = replace(broker.settings, threads=threads)  # a command line may differ from the settings
    bank.born(identity().process_started)
    count_in(bank)
    broker.emit_after("process_boot")
    worker = EngineWorker(broker, queues=queues, worker_threads=threads, ledger=Ledger(bank, ledgers.guardian))
    worker.start()
    with announced(worker), signalling(this_worker(queues, threads)):
        is_orphan = wait_for_the_end(worker, wake, leash)
        worker.stop(timeout=ORPHAN_TIMEOUT_MS if is_orphan else broker.settings.shutdown_timeout_ms)
    broker.close()


def wait_for_the_end(worker: EngineWorker, wake: int, leash: int) -> bool:
    """Returns when the worker is to stop; whether that is because the supervisor is gone."""
    patience_s = None
    while True:
        readable, _, _ = select.select([wake, leash], [], [], patience_s)
        if leash in readable:
            logger.warning("The supervisor is gone; stopping.")
            return True
        words = os.read(wake, 64) if wake in readable else b""
        if TERM in words:
            return False
        if SHOWN in words:
            logger.info("Stacks of this process:\n%s", stacks(running(worker)))
        if DRAINED in words:
            worker.drain()
            patience_s = LOOK_S
        if patience_s is not None and worker.is_drained:
            return False


def running(worker: EngineWorker) -> dict[int, str]:
    """What each thread runs, by the thread's number."""
    seen = [(thread.ident, thread.current) for thread in cast("list[EngineThread]", worker.workers)]
    return {
        number: f"{current.actor_name} {current.message_id}"
        for number, current in seen
        if number is not None and current is not None
    }


def stop_pipe() -> int:
    """Take the signals of a process below the supervisor: the end of a pipe that is readable after one came."""
    wake, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.signal(signal.SIGTERM, lambda *_: os.write(ring, TERM))
    signal.signal(DRAIN, lambda *_: os.write(ring, DRAINED))
    signal.signal(SHOW, lambda *_: os.write(ring, SHOWN))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(RELOAD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)  # blocked since before the fork
    return wake


def die_with_parent() -> None:
    """On Linux the kernel also tells us when the supervisor dies; elsewhere the pipe does it alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
