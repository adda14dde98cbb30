"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
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


def guarded(process: ProcessIdentity, guardian: ProcessIdentity) -> ProcessIdentity:
    """A process whose claims its guardian settles: while that one lives, nobody else takes them for dead.

    The guardian stands behind the start time, so that a store keeps it without knowing of it.
    """
    return replace(process, process_started=f"{process.process_started}/{guardian.pid}:{guardian.process_started}")


def is_gone(other: ProcessIdentity, mine: ProcessIdentity) -> bool:
    """Whether another process is surely dead and nobody settles for it. Only knowable on one's own host; else False.

    Whoever settles for a dead process asks in its name: then `mine` is that process.
    """
    if other.host_id != mine.host_id or is_alive(other):
        return False
    return other == mine or not _has_living_guardian(other)


def _has_living_guardian(process: ProcessIdentity) -> bool:
    _, _, guardian = process.process_started.partition("/")
    pid, _, started = guardian.partition(":")
    return bool(pid) and is_alive(replace(process, pid=int(pid), process_started=started))


def is_alive(process: ProcessIdentity) -> bool:
    """Whether this very process (not a later one with the same pid) lives; for processes of this host."""
    started = process.process_started.partition("/")[0]
    if started:
        return _started(process.pid) == started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_stopped(pid: int) -> bool:
    """Whether a living process of this host stands still (SIGSTOP); False where that cannot be known."""
    return _stat(pid)[:1] == ["T"]


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
    fields = _stat(pid)
    return None if not fields or fields[0] in {"Z", "X"} else fields[19]


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
