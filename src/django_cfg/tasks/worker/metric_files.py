"""The files in which worker processes count for Prometheus, in one directory for each supervisor.

A file belongs to a bank of the ledger, not to a process: the next process of the bank counts on in it. So however
often workers are replaced, no number is lost, and there are no more files than banks.

A directory of our own is locked by the supervisor and, because a fork shares the lock, by all below it. One that can
be locked belongs to nobody any more: its supervisor was killed. Every start and every end removes those.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.tasks.worker.ledger import Bank

#: What the client reads.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: Whose directory that is, the descriptor that locks it, and where: it outlives the program of its supervisor, not the
#: supervisor.
OURS = "RUNDRAMATIQ_METRICS_DIR"
PREFIX = "rundramatiq-metrics-"


@contextmanager
def shared_directory() -> Iterator[None]:
    """Have a directory while the block runs: that which the project names, or one of our own, removed at the end."""
    owner, lock, path = [*os.environ.get(OURS, "").split(" ", 2), "", ""][:3]
    if os.environ.get(DIRECTORY, path) != path:
        os.makedirs(os.environ[DIRECTORY], exist_ok=True)
        yield
    elif path and owner == str(os.getppid()):
        yield
    else:
        with _own(*((path, int(lock)) if owner == str(os.getpid()) else _made())):
            yield


@contextmanager
def _own(path: str, lock: int) -> Iterator[None]:
    os.environ[DIRECTORY], os.environ[OURS] = path, f"{os.getpid()} {lock} {path}"
    _remove_orphans()
    try:
        yield
    finally:
        del os.environ[DIRECTORY], os.environ[OURS]
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
        _remove_orphans()


def _made() -> tuple[str, int]:
    """A new directory and the descriptor that locks it, also for the next program of this process."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        lock = _locked(path)
        if lock is not None and os.path.isdir(path):
            os.set_inheritable(lock, True)
            return path, lock
        if lock is not None:  # another start took it for an orphan before it was locked
            os.close(lock)


def _remove_orphans() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = _locked(str(path))
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: str) -> int | None:
    """A descriptor that locks a directory; None: it is locked, gone, a link or somebody else's."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None


def count_in(bank: Bank) -> None:
    """Let metrics that this process makes from now on count in the files of its bank."""
    if DIRECTORY not in os.environ or "prometheus_client" not in sys.modules:
        return
    from prometheus_client import multiprocess, values

    name = f"{bank.file}-{bank.index}"
    multiprocess.mark_process_dead(name)  # gauges of an earlier process that were to end with it
    values.ValueClass = values.MultiProcessValue(lambda: name)
