"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from django_cfg.tasks.brokers.contract import ProcessIdentity


def identity() -> ProcessIdentity:
    """This process. Read again after a fork."""
    return ProcessIdentity(
        host_id=_host_id(),
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=_started(os.getpid()) or "",
    )


def is_gone(other: ProcessIdentity, mine: ProcessIdentity) -> bool:
    """Whether another process is surely dead. Only knowable on one's own host; else False."""
    return other.host_id == mine.host_id and not is_alive(other)


def is_alive(process: ProcessIdentity) -> bool:
    """Whether this very process (not a later one with the same pid) runs; for processes of this host."""
    if process.process_started:
        return _started(process.pid) == process.process_started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host_id() -> str:
    """Tells hosts, boots and containers apart: two containers share a kernel, but not their pids."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """Start time in clock ticks since boot, from the field after the command name; None if unknown or dead."""
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in {"Z", "X"} else started


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
