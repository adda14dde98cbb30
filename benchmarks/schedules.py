"""`python3 dev.py bench schedules`: how late ticks are enqueued, and what ten thousand schedules cost.

`dramatiq_cron` runs alone, without workers. Lateness is the moment at which another connection sees a tick, which is
committed with its message, less the time that was meant; scheduler, database and observer share one clock. The cost is
the processor time of all its processes once it has started.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.contestants import ours
from benchmarks.measure import SETTLE_S, Bench, Load, cpu_seconds, end, percentile, tree

STORES = {"sqlite": servers.sqlite, "postgres": servers.postgres, "mariadb": servers.mariadb}
#: Below this share of a core it has started.
CALM = 0.05
EACH_SECOND = [{"actor_name": "note", "every_s": 1, "name": "second", "args": [0]}]
#: Another connection sees a tick once its transaction, which holds the message too, is committed.
LATENESS = """
import django, json, sys, time
django.setup()
from django_cfg.tasks.models import Tick
until, seen, late = time.monotonic() + float(sys.argv[1]), set(Tick.objects.values_list("id", flat=True)), []
while time.monotonic() < until:
    for tick in Tick.objects.exclude(id__in=seen):
        seen.add(tick.id)
        late.append(time.time() * 1000 - tick.nominal_at)
    time.sleep(0.002)
print(json.dumps(late))
"""


@contextmanager
def ticking(name: str, schedules: list[dict[str, Any]], **environment: str) -> Iterator[tuple[Bench, int]]:
    """A bench with a database and the pid of a scheduler."""
    contestant = ours(f"{name}, schedules", STORES[name], schedules=schedules)
    with tempfile.TemporaryDirectory(prefix="django-cfg-bench-") as folder, contestant.store(Path(folder), 0) as store:
        bench = Bench(contestant, store, Path(folder), Load(tasks=2, processes=1, threads=1))
        bench.prepare()
        bench.environment |= environment
        command = [sys.executable, "-m", "django", "dramatiq_cron"]
        process = subprocess.Popen(command, env=bench.environment, cwd=bench.home, stderr=subprocess.DEVNULL)
        try:
            yield bench, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            end(process)


def lateness_ms(name: str, seconds: float) -> list[float]:
    """Of each tick of a schedule that is due every second."""
    with ticking(name, EACH_SECOND) as (bench, _):
        time.sleep(SETTLE_S)
        command = [sys.executable, "-c", LATENESS, str(seconds)]
        done = subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True)
    return sorted(json.loads(done.stdout))


def cores(name: str, count: int, seconds: float) -> float:
    """Share of one core that so many schedules take, each due once an hour and about three of them every second."""
    with ticking(name, [], BENCH_SCHEDULES=str(count)) as (_, pid):
        time.sleep(SETTLE_S)
        while _busy(pid, 2.0) > CALM:  # the first turn writes a row for each and reads them all
            pass
        return _busy(pid, seconds)


def _busy(pid: int, seconds: float) -> float:
    """Share of a core that a process and its children take now."""
    before = sum(map(cpu_seconds, tree([pid])))
    time.sleep(seconds)
    return (sum(map(cpu_seconds, tree([pid]))) - before) / seconds


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench schedules", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to look at each (60)")
    parser.add_argument("--schedules", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--database", action="append", choices=STORES, help="default: all")
    options = parser.parse_args(words)
    for name in options.database or STORES:
        late = lateness_ms(name, options.seconds)
        share = cores(name, options.schedules, options.seconds)
        print(
            f"{name:10} {len(late)} ticks, late by {percentile(late, 0.5):.0f} ms (p50), "
            f"{percentile(late, 0.99):.0f} ms (p99); {options.schedules:,} schedules take {share:.2%} of a core",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
