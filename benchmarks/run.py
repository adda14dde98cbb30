"""`python3 dev.py bench`: enqueue and drain of each broker next to stock Dramatiq on Redis, in one run.

Tasks do nothing but note their start. Drain is (N - 1) / (last start - first start) with a full queue before the
workers start. Figures of different runs must not be compared; ratios within one run may.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.project import Project
from benchmarks.stock import Stock

SLOT = struct.Struct("dI")
PATIENCE_S = 120
#: The yardstick first: the ratio is the drain next to its.
KINDS = ("stock", "sqlite", "postgres", "redis")


@dataclass(frozen=True)
class Figures:
    """One measured round, per second; `lost` and `repeated` must be 0."""

    single: float
    bulk: float
    drain: float
    lost: int
    repeated: int


def measure(project: Project | Stock, total: int, processes: int, threads: int) -> Figures:
    project.slots.write_bytes(bytes(SLOT.size * total))
    single, bulk = json.loads(project.python(project.enqueue.format(single=total // 10, total=total)))
    workers = project.workers(processes, threads)
    try:
        starts, runs = wait_for_all(project, total)
    finally:
        workers.terminate()
        workers.wait(60)
    ran = [start for start in starts if start]
    drain = (len(ran) - 1) / (max(ran) - min(ran))
    return Figures(single, bulk, drain, runs.count(0), sum(n - 1 for n in runs if n > 1))


def wait_for_all(project: Project | Stock, total: int) -> tuple[list[float], list[int]]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        slots = list(SLOT.iter_unpack(project.slots.read_bytes()))
        starts, runs = [s for s, _ in slots], [n for _, n in slots]
        if 0 not in runs or time.monotonic() > deadline:
            return starts, runs
        time.sleep(0.2)


def sqlite(home: Path) -> dict[str, object]:
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
    engine = "django.db.backends.sqlite3"
    return {"default": {"ENGINE": engine, "NAME": str(home / "db.sqlite3"), "OPTIONS": options}}


def postgres(name: str) -> dict[str, object]:
    engine = "django.db.backends.postgresql"
    return {"default": {"ENGINE": engine, "HOST": "127.0.0.1", "USER": "postgres", "NAME": name}}


def run(kind: str, options: argparse.Namespace) -> Figures:
    """Medians of the rounds on one kind of broker."""
    with (
        tempfile.TemporaryDirectory(prefix="django-cfg-bench-") as folder,
        made(kind, Path(folder), options) as project,
    ):
        project.slots.write_bytes(bytes(SLOT.size * options.tasks))
        project.prepare()
        rounds = [measure(project, options.tasks, options.processes, options.threads) for _ in range(options.rounds)]
        project.clean()
    return median(rounds)


@contextmanager
def made(kind: str, home: Path, options: argparse.Namespace) -> Iterator[Project | Stock]:
    """A project on this kind of broker; what it needs on a server is its own and goes with it."""
    name = f"django_cfg_bench_{home.name.rpartition('-')[2]}"
    if kind == "stock":
        yield Stock(home, options.redis, name)
    elif kind == "redis":
        yield Project(home, sqlite(home), options.redis, name)
    elif kind == "sqlite":
        yield Project(home, sqlite(home), "database://default", name)
    else:
        psql(f'CREATE DATABASE "{name}"')
        try:
            yield Project(home, postgres(name), "database://default", name)
        finally:
            psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def median(rounds: list[Figures]) -> Figures:
    def of(name: str) -> float:
        return statistics.median(getattr(figures, name) for figures in rounds)

    lost, repeated = sum(f.lost for f in rounds), sum(f.repeated for f in rounds)
    return Figures(of("single"), of("bulk"), of("drain"), lost, repeated)


def psql(statement: str) -> None:
    subprocess.run(["psql", "-qh", "127.0.0.1", "-U", "postgres", "-c", statement], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("--broker", choices=KINDS, action="append", help="default: all of them")
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median is reported")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/9", help="where Redis is measured")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    print(f"{options.tasks} tasks, {options.processes} processes x {options.threads} threads, {sys.version.split()[0]}")
    print(f"{'broker':10} {'enqueue/s':>10} {'bulk/s':>10} {'drain/s':>10} {'ratio':>7} {'lost':>6} {'repeated':>9}")
    yardstick: Figures | None = None
    for kind in options.broker or KINDS:
        found = run(kind, options)
        yardstick = yardstick or found
        rates = f"{found.single:10,.0f} {found.bulk:10,.0f} {found.drain:10,.0f}"
        ratio = found.drain / yardstick.drain
        print(f"{kind:10} {rates} {ratio:7.2f} {found.lost:6} {found.repeated:9}", flush=True)


if __name__ == "__main__":
    main()
