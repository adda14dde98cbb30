"""Which tasks ran, when and how often: one slot each in a file that workers map into memory.

A task's mark costs no I/O, belongs to neither broker nor database, and shows lost and repeated runs.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

SLOT = struct.Struct("dI")
VARIABLE = "BENCH_SLOTS"

_mapped: mmap.mmap | None = None


def mark(number: int) -> None:
    """A run of this task has started now."""
    slots = _slots()
    _, runs = SLOT.unpack_from(slots, number * SLOT.size)
    SLOT.pack_into(slots, number * SLOT.size, time.monotonic(), runs + 1)


def _slots() -> mmap.mmap:
    global _mapped  # workers fork and thread: one mapping each, made at the first task
    if _mapped is None:
        with open(os.environ[VARIABLE], "r+b") as file:
            _mapped = mmap.mmap(file.fileno(), 0)
    return _mapped


class Slots:
    """The same file, read by the benchmark."""

    def __init__(self, path: Path, total: int) -> None:
        self.path = path
        path.write_bytes(bytes(SLOT.size * total))

    def clear(self) -> None:
        """All to zero in place: workers may have it mapped."""
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.write(bytes(size))

    def read(self, total: int) -> tuple[list[float], list[int]]:
        """The start (0 if none) and the number of runs of each of the first `total` tasks."""
        with self.path.open("rb") as file:
            pairs = list(SLOT.iter_unpack(file.read(SLOT.size * total)))
        return [start for start, _ in pairs], [runs for _, runs in pairs]
