"""The same soak over stock Dramatiq on Redis, for comparison: same load, same ledger, the faults that apply to it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soak import PROCESSES, THREADS, Soak, children_of

BROKER = """
import os
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

broker = RedisBroker(url=os.environ["SOAK_BROKER"])
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
"""
COUNT = """
import json, os
import redis
client = redis.Redis.from_url(os.environ["SOAK_BROKER"], decode_responses=True)
stuck = client.hlen("dramatiq:default.msgs") + client.hlen("dramatiq:default.DQ.msgs")
print(json.dumps([stuck, client.zrange("dramatiq:default.XQ", 0, -1)]))
"""
#: What the stock decorator does not know.
OURS = re.compile(r"max_deliveries=\d+,? ?|hard_time_limit_ms=\d+,? ?")


@dataclass
class StockSoak(Soak):
    """Stock workers end as a whole when one of their processes dies; they are started again, as systemd would."""

    count_code: str = COUNT

    def write_project(self) -> None:
        app = self.home / "load"
        app.mkdir()
        (app / "__init__.py").touch()
        tasks = OURS.sub("", self.tasks).replace("max_retries=20", "max_retries=20, min_backoff=200, max_backoff=1000")
        (app / "tasks.py").write_text(BROKER + tasks)
        (self.home / "produce.py").write_text(self.produce.replace("import django\ndjango.setup()\n", ""))

    def prepare(self) -> None:
        """There are no tables."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "dramatiq", "load.tasks", "-p", str(PROCESSES), "-t", str(THREADS)]

    def below(self, name: str) -> list[int]:
        return children_of(self.workers.pid) if name == "worker" else []

    def all_faults(self) -> list[Callable[[], int]]:
        """Without those that stock never recovers from: no keeper, no hard limit, no counter of deliveries."""
        apart = {"kill_keeper", "hung_task", "greedy_task"}
        return [fault for fault in super().all_faults() if fault.__name__ not in apart]

    def after_fault(self, fault: str) -> None:
        try:
            self.workers.wait(3)
        except subprocess.TimeoutExpired:
            return
        self.start_workers()
