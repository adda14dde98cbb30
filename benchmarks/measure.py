"""One contestant, measured: enqueue, drain, drain with results, idle latency, memory and bytes per message."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from benchmarks.contestants import Commands, Contestant
from benchmarks.servers import Store
from benchmarks.slots import VARIABLE, Slots

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 240.0
SETTLE_S = 2.0
RARE_PAUSE_S, OFTEN_PAUSE_S = 1.0, 0.01
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """How much is measured."""

    tasks: int
    processes: int
    threads: int
    often: int = 200
    rare: int = 5


@dataclass(frozen=True)
class Figures:
    """One round. Rates per second, latencies in ms; None where a contestant cannot or was not asked."""

    single: float | None = None
    bulk: float | None = None
    drain: float | None = None
    with_results: float | None = None
    idle_p50: float | None = None
    idle_p99: float | None = None
    rare_p50: float | None = None
    cpu_us: float | None = None
    pss_mb: float | None = None
    message_bytes: float | None = None
    lost: int = 0
    repeated: int = 0


class Bench:
    """A contestant with its store, ready to be measured."""

    def __init__(self, contestant: Contestant, store: Store, home: Path, load: Load) -> None:
        self.contestant, self.store, self.home, self.load = contestant, store, home, load
        self.slots = Slots(home / "slots", max(load.tasks, load.often))
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PGUSER": "postgres",
            **contestant.environment,
            **store.environment,
            VARIABLE: str(self.slots.path),
        }
        if "BENCH_DSN" in store.environment:
            dsn = urlsplit(store.environment["BENCH_DSN"])
            self.environment |= {
                "PGHOST": dsn.hostname or "",
                "PGPORT": str(dsn.port),
                "PGDATABASE": dsn.path.lstrip("/"),
            }

    def prepare(self) -> None:
        for command in self.contestant.prepare:
            done = subprocess.run(command, env=self.environment, cwd=self.home, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")

    def produce(self, *words: object) -> Any:
        """What the producer found."""
        command = [sys.executable, "-m", "benchmarks.producer", self.contestant.app, *map(str, words)]
        done = subprocess.run(command, env=self.environment, cwd=self.home, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def workers(self) -> Iterator[list[int]]:
        """The process ids of the workers' commands while they run."""
        commands: Commands = self.contestant.workers(self.load.processes, self.load.threads)
        with (self.home / "workers.log").open("w") as log:
            running = [self._start(command, log) for command in commands]
            try:
                yield [process.pid for process in running]
            finally:
                for process in running:
                    process.send_signal(signal.SIGTERM)
                for process in running:
                    end(process)

    def _start(self, command: Sequence[str], log: IO[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=self.environment, cwd=self.home, stdout=log, stderr=subprocess.STDOUT)

    def round(self) -> Figures:
        has_results = self.produce("has", "send_for_result")
        idle = self.idle()
        before = self.store.used_bytes()
        rates = self.produce("fill", max(2, self.load.tasks // 10), self.load.tasks)
        after = self.store.used_bytes()
        drain, cpu_s, lost, repeated = self.drain(self.load.tasks)
        results = self.drain_with_results() if has_results else None
        return Figures(
            single=rates["single"],
            bulk=rates["bulk"],
            drain=drain,
            with_results=results,
            **{name: value for name, value in idle.items() if name != "boot_cpu_s"},
            cpu_us=max(0.0, cpu_s - idle["boot_cpu_s"]) / self.load.tasks * 1e6,
            message_bytes=None if before is None or after is None else max(0, after - before) / self.load.tasks,
            lost=lost,
            repeated=repeated,
        )

    def drain(self, total: int) -> tuple[float, float, int, int]:
        """Tasks per second from a full queue, the CPU seconds of all workers, and what was lost or repeated."""
        with self.workers() as pids:
            starts, runs = self._wait(total, pids)
            cpu_s = sum(cpu_seconds(pid) for pid in tree(pids))
        ran = [start for start in starts if start]
        span = max(ran) - min(ran) if len(ran) > 1 else float("inf")
        repeated = sum(number - 1 for number in runs if number > 1)
        return (len(ran) - 1) / span, cpu_s, runs.count(0), repeated

    def drain_with_results(self) -> float:
        self.slots.clear()
        total = max(2, self.load.tasks // 2)
        self.produce("results", total)
        return self.drain(total)[0]

    def _wait(self, total: int, pids: Sequence[int]) -> tuple[list[float], list[int]]:
        """Until all have run or nothing runs any more; what is missing then counts as lost."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            starts, runs = self.slots.read(total)
            if 0 not in runs or time.monotonic() > deadline:
                return starts, runs
            if not any(is_alive(pid) for pid in pids):
                raise SystemExit(f"{self.contestant.name}: no worker is left.\n{self._log()}")
            time.sleep(0.2)

    def _log(self) -> str:
        return (self.home / "workers.log").read_text()[-2000:]

    def idle(self) -> dict[str, float]:
        """Latency from `send` to the task's start with idle workers, and what the workers cost by being there."""
        with self.workers() as pids:
            self.slots.clear()
            self.produce("fill", 2, 2)  # they serve once the first tasks have run
            self._wait(2, pids)
            time.sleep(SETTLE_S)
            boot_cpu_s = sum(cpu_seconds(pid) for pid in tree(pids))
            pss_mb = sum(pss_bytes(pid) for pid in tree(pids)) / self.load.processes / 1e6
            often = self._latencies(pids, self.load.often, OFTEN_PAUSE_S)
            rare = self._latencies(pids, self.load.rare, RARE_PAUSE_S)
        self.slots.clear()
        return {
            "boot_cpu_s": boot_cpu_s,
            "pss_mb": pss_mb,
            "idle_p50": statistics.median(often),
            "idle_p99": percentile(often, 0.99),
            "rare_p50": statistics.median(rare),
        }

    def _latencies(self, pids: Sequence[int], count: int, pause_s: float) -> list[float]:
        self.slots.clear()
        sent = self.produce("idle", count, pause_s)
        starts, _ = self._wait(count, pids)
        return sorted((start - began) * 1000 for start, began in zip(starts, sent, strict=True) if start)


@contextmanager
def ready(contestant: Contestant, load: Load, delay_ms: float) -> Iterator[Bench]:
    """A contestant whose store runs and has its tables."""
    with (
        tempfile.TemporaryDirectory(prefix="django-cfg-bench-") as folder,
        contestant.store(Path(folder), delay_ms) as store,
    ):
        bench = Bench(contestant, store, Path(folder), load)
        bench.prepare()
        yield bench


def measure(
    contestants: Sequence[Contestant], load: Load, rounds: int, delay_ms: float, tell: Callable[[int], None]
) -> list[list[Figures]]:
    """The rounds of each contestant. In each round it is everybody's turn once, so that a machine whose speed drifts
    does so for all alike; `tell` hears of each round that has ended."""
    with ExitStack() as stack:
        benches = [stack.enter_context(ready(contestant, load, delay_ms)) for contestant in contestants]
        found: list[list[Figures]] = [[] for _ in benches]
        for number in range(1, rounds + 1):
            for bench, figures in zip(benches, found, strict=True):
                figures.append(bench.round())
            tell(number)
        return found


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# -- processes ---------------------------------------------------------------------------------------------


def end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_alive(pid: int) -> bool:
    """Running, and not only waiting to be reaped by us."""
    words = _stats().get(pid)
    return words is not None and words[0] != "Z"


def tree(roots: Sequence[int]) -> list[int]:
    """These processes and all below them."""
    parents = {pid: int(words[1]) for pid, words in _stats().items()}
    found = list(roots)
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def _stats() -> dict[int, list[str]]:
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
    return stats


def cpu_seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / CLOCK_TICKS


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
