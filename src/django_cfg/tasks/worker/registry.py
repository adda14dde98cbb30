"""Worker processes announce themselves: what they are, what their threads run, and that they live.

The numbers are written by a thread of their own, so a slow database holds up no task.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from django.db import DatabaseError, InterfaceError, connections
from django.db.models.functions import Now

from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.middleware.connections import keep_no_queries
from django_cfg.tasks.models import Worker
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.tasks.worker.threads import EngineThread

logger = logging.getLogger(__name__)
HEARTBEAT_S = 5.0
#: How often a worker looks whether its picture changed. Tasks shorter than this are no news between heartbeats.
LOOK_S = 1.0
#: How long a lost worker stays in sight before it is swept.
KEEP_LOST_S = 600.0
SWEEP_EVERY_S = 60.0
LAST_WORDS_S = 3.0
OUR_VERSION = version("django-cfg-tasks")


@contextmanager
def announced(worker: EngineWorker) -> Iterator[None]:
    """Announce a worker while the block runs; its row is gone afterwards."""
    announcer = Announcer(worker)
    announcer.start()
    try:
        yield
    finally:
        announcer.finish()


class Announcer(threading.Thread):
    """Writes one worker's row: every five seconds, and within a second when what runs long has changed."""

    def __init__(self, worker: EngineWorker) -> None:
        super().__init__(name="announcer", daemon=True)
        self._worker = worker
        self._row: int | None = None
        self._shown: frozenset[str] = frozenset()
        self._next = 0.0
        self._next_sweep = 0.0
        self._stopping = threading.Event()
        self._is_in_trouble = False

    def run(self) -> None:
        keep_no_queries()
        while not self._stopping.is_set():
            self._attempt(self._look)
            self._stopping.wait(LOOK_S)
        self._attempt(self._withdraw)
        connections.close_all()

    def finish(self) -> None:
        """Take the row away and end."""
        self._stopping.set()
        self.join(LAST_WORDS_S)

    def _attempt(self, step: Callable[[], None]) -> None:
        """A database in trouble costs the picture, no task; it is said once."""
        try:
            step()
            self._is_in_trouble = False
        except (DatabaseError, InterfaceError) as error:
            if not self._is_in_trouble:
                logger.warning("This worker cannot announce itself in database %r: %s", records_alias(), error)
            self._is_in_trouble = True
            self._next = time.monotonic() + HEARTBEAT_S
            connections[records_alias()].close()

    def _look(self) -> None:
        running = running_tasks(self._worker)
        lasting = frozenset(task["message_id"] for task in running if task["for_s"] >= LOOK_S)
        now = time.monotonic()
        if now >= self._next or (lasting != self._shown and not self._is_in_trouble):
            self._shown, self._next = lasting, now + HEARTBEAT_S
            self._write(running)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_EVERY_S * random.uniform(0.8, 1.2)
            sweep()

    def _write(self, running: list[dict[str, Any]]) -> None:
        news = {"running": running, "rss_bytes": rss_bytes(), "heartbeat_at": Now()}
        rows = Worker.objects.using(records_alias())
        if self._row is None or not rows.filter(pk=self._row).update(**news):
            self._row = rows.create(**description(self._worker), **news).pk

    def _withdraw(self) -> None:
        if self._row is not None:
            Worker.objects.using(records_alias()).filter(pk=self._row).delete()


def description(worker: EngineWorker) -> dict[str, Any]:
    """What does not change in the life of a worker process."""
    me = identity()
    return {
        "host_id": me.host_id,
        "host": me.host,
        "pid": me.pid,
        "process_started": me.process_started,
        "supervisor_pid": os.getppid(),
        "version": OUR_VERSION,
        "queues": sorted(worker.exchange.queues),
        "threads": len(worker.workers),
        "started_at": Now(),
    }


def running_tasks(worker: EngineWorker) -> list[dict[str, Any]]:
    """What each thread runs, and for how many seconds."""
    now = time.monotonic()
    threads = cast("list[EngineThread]", worker.workers)
    seen = [(number, thread.current) for number, thread in enumerate(threads, 1)]
    return [
        {
            "thread": number,
            "task": current.actor_name,
            "message_id": current.message_id,
            "for_s": round(now - current.since, 3),
        }
        for number, current in seen
        if current is not None
    ]


def rss_bytes() -> int | None:
    """Memory of this process; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def sweep() -> None:
    """Forget workers that have been lost for ten minutes. Any worker does it for all."""
    Worker.objects.using(records_alias()).filter(heartbeat_at__lt=Now() - timedelta(seconds=KEEP_LOST_S)).delete()
