"""The files in which worker processes count for Prometheus, in one directory for each supervisor.

A file belongs to a bank of the ledger, not to a process: the next process of the bank counts on in it. So however
often workers are replaced, no number is lost, and there are no more files than banks.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from django_cfg.tasks.worker.ledger import Bank

#: What the client reads.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: Whose directory that is, and where: it outlives the program of its supervisor, not the supervisor.
OURS = "RUNDRAMATIQ_METRICS_DIR"


@contextmanager
def shared_directory() -> Iterator[None]:
    """Have a directory while the block runs: that which the project names, or one of our own, removed at the end."""
    owner, _, path = os.environ.get(OURS, "").partition(" ")
    if os.environ.get(DIRECTORY, path) != path:
        os.makedirs(os.environ[DIRECTORY], exist_ok=True)
        yield
    elif path and owner == str(os.getppid()):
        yield
    else:
        with _own(path if owner == str(os.getpid()) else tempfile.mkdtemp(prefix="rundramatiq-metrics-")):
            yield


@contextmanager
def _own(path: str) -> Iterator[None]:
    os.environ[DIRECTORY], os.environ[OURS] = path, f"{os.getpid()} {path}"
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        del os.environ[DIRECTORY], os.environ[OURS]


def count_in(bank: Bank) -> None:
    """Let metrics that this process makes from now on count in the files of its bank."""
    if DIRECTORY not in os.environ or "prometheus_client" not in sys.modules:
        return
    from prometheus_client import multiprocess, values

    name = f"{bank.file}-{bank.index}"
    multiprocess.mark_process_dead(name)  # gauges of an earlier process that were to end with it
    values.ValueClass = values.MultiProcessValue(lambda: name)
