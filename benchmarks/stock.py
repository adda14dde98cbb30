"""The yardstick of every run: stock Dramatiq on Redis, with its default middleware and settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TASKS = """
import mmap, os, struct, time
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_BROKER"], namespace=os.environ["BENCH_PREFIX"]))
SLOT = struct.Struct("dI")
_file = open(os.environ["BENCH_SLOTS"], "r+b")
_slots = mmap.mmap(_file.fileno(), 0)


@dramatiq.actor
def note(number):
    _, runs = SLOT.unpack_from(_slots, number * SLOT.size)
    SLOT.pack_into(_slots, number * SLOT.size, time.monotonic(), runs + 1)
"""

#: Stock has no bulk enqueue; all are sent one by one.
ENQUEUE = """
import json, time
from stock_tasks import note
began = time.perf_counter()
for number in range({total}):
    note.send(number)
rate = {total} / (time.perf_counter() - began)
print(json.dumps([rate, rate]))
"""


class Stock:
    """The same interface as `benchmarks.project.Project`."""

    enqueue = ENQUEUE

    def __init__(self, home: Path, url: str, prefix: str) -> None:
        self.home = home
        self.slots = home / "slots"
        self.environment = {
            **os.environ,
            "BENCH_BROKER": url,
            "BENCH_PREFIX": prefix,
            "BENCH_SLOTS": str(self.slots),
            "PYTHONPATH": str(home),
        }
        (home / "stock_tasks.py").write_text(TASKS)

    def prepare(self) -> None:
        """Nothing to migrate."""

    def workers(self, processes: int, threads: int) -> subprocess.Popen[bytes]:
        words = ["-m", "dramatiq", "stock_tasks", "--processes", str(processes), "--threads", str(threads)]
        command = [sys.executable, *words, "--skip-logging"]
        return subprocess.Popen(command, cwd=self.home, env=self.environment, stdout=subprocess.DEVNULL)

    def python(self, code: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=self.home, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout

    def clean(self) -> None:
        """Leave nothing in the server."""
        self.python(
            "import os, redis\n"
            "client = redis.Redis.from_url(os.environ['BENCH_BROKER'])\n"
            "for key in client.scan_iter(os.environ['BENCH_PREFIX'] + '*'): client.delete(key)"
        )
