"""When a worker process has done enough and is replaced by a fresh one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from django_cfg.tasks.worker.ledger import Bank

MIB = 1024 * 1024


@dataclass(frozen=True)
class Recycling:
    """Limits of one process; None: none.

    Attributes:
        max_tasks: tasks that it has run.
        max_memory_mb: its resident memory, in MiB; looked at when it has run a task, so that a limit below what
            the project itself needs costs throughput and nothing else.
    """

    max_tasks: int | None = None
    max_memory_mb: int | None = None

    @property
    def is_on(self) -> bool:
        return self.max_tasks is not None or self.max_memory_mb is not None

    def reason(self, pid: int, bank: Bank) -> str:
        """Why the process is to be replaced; empty: it is not."""
        if self.max_tasks is not None and bank.tasks >= self.max_tasks:
            return f"it has run {bank.tasks} tasks (max_tasks_per_child={self.max_tasks})"
        if self.max_memory_mb is not None and bank.tasks and (used := resident_mb(pid)) > self.max_memory_mb:
            return f"it uses {used:.0f} MiB (max_memory_mb={self.max_memory_mb})"
        return ""


def resident_mb(pid: int) -> float:
    """Resident memory of a process; 0 where that cannot be known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
