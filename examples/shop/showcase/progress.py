"""Live progress: per queue what waits, runs and has ended, until nothing is left."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass

from django_cfg.tasks import queries
from django_cfg.units import humane, s_to_ms
from showcase.workers import Workers

LOOK_EVERY_S = 0.25
PRINT_EVERY_S = 1.5
LEGEND = "Each queue: waiting/running/done"


@dataclass(frozen=True)
class QueueLook:
    """One queue at one moment; a task that waits for a retry or its time counts as waiting."""

    queue: str
    waiting: int
    running: int
    done: int

    @property
    def is_idle(self) -> bool:
        return self.waiting == 0 and self.running == 0

    def __str__(self) -> str:
        return f"{self.queue} {self.waiting}/{self.running}/{self.done}"


def look() -> list[QueueLook]:
    """All queues now, by name."""
    completed: Counter[str] = Counter()
    for task in queries.task_summary():
        completed[task.queue] += task.completed
    return sorted(
        (
            QueueLook(
                queue=stats.queue,
                waiting=stats.pending + stats.scheduled + stats.retrying,
                running=stats.running,
                done=completed[stats.queue] + stats.dead,
            )
            for stats in queries.queue_stats()
        ),
        key=lambda seen: seen.queue,
    )


def watch(workers: Workers) -> float:
    """Show progress until every queue is idle; returns how long that took, in seconds.

    Raises:
        WorkersDied: the worker command ended before the work did.
    """
    started = time.monotonic()
    display: Line | Lines = Line() if sys.stdout.isatty() else Lines()
    print(LEGEND)
    idle_looks, queues = 0, look()
    try:
        while idle_looks < 2:  # twice, because a record may be a moment younger than its message
            workers.check()
            queues = look()
            display.show(told(time.monotonic() - started, queues, only_busy=display.is_narrow))
            idle_looks = idle_looks + 1 if all(queue.is_idle for queue in queues) else 0
            time.sleep(LOOK_EVERY_S)
    finally:
        display.end(told(time.monotonic() - started, queues))
    return time.monotonic() - started


class Line:
    """One line of a terminal, written over and over."""

    is_narrow = True

    def show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{text[:width]}", end="", flush=True)

    def end(self, text: str) -> None:
        self.show(text)
        print(flush=True)


class Lines:
    """A plain line every now and then, for files and pipes."""

    is_narrow = False

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self.end(text)

    def end(self, text: str) -> None:
        self._next = time.monotonic() + PRINT_EVERY_S
        print(text, flush=True)


def told(elapsed_s: float, queues: list[QueueLook], *, only_busy: bool = False) -> str:
    """The line for one moment: all queues together, then each (or each that is not idle)."""
    total = QueueLook(
        queue="all",
        waiting=sum(queue.waiting for queue in queues),
        running=sum(queue.running for queue in queues),
        done=sum(queue.done for queue in queues),
    )
    shown = [queue for queue in queues if not (only_busy and queue.is_idle)]
    return "  ".join([f"{humane(s_to_ms(elapsed_s)):>8}", *map(str, (total, *shown))])
