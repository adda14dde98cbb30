"""`python3 dev.py bench workers`: how fast the sample project's workers are ready, and what one more of them costs.

Ready is the line that `rundramatiq` prints when all its processes run; it and `manage.py check` are started in turn,
so that drift hits both alike; medians, and their ratio. The memory is the PSS from `smaps_rollup` (a shared page
counts by its share) of the supervisor and all below it, after every worker has run tasks; "one more" is the difference
between two numbers of processes, for each process more. All with DEBUG off and bytecode written, as in production.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import pss_bytes, tree

SHOP = Path(__file__).resolve().parent.parent / "examples" / "shop"
MIB = 1024 * 1024
PATIENCE_S = 60.0
SETTLE_S = 3.0
TASKS_EACH = 40
SEND = "from apps.shop.tasks import cleanup_expired_sessions as task\nfor _ in range({}): task.send()"
LEFT = "from django_cfg.tasks import queries\nprint(sum(s.pending + s.running for s in queries.queue_stats()))"


@dataclass(frozen=True)
class Use:
    """Memory in MiB."""

    processes: int
    all: float
    one: float


class Shop:
    """The sample project in a state directory of its own."""

    def __init__(self, home: Path, broker: str) -> None:
        ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {
            **ours,
            "PYTHONPYCACHEPREFIX": str(home / "bytecode"),
            "PYTHONPATH": str(home),
            "DJANGO_SETTINGS_MODULE": "bench_settings",
            "SHOP_STATE_DIR": str(home / "state"),
            "SHOP_BROKER_URL": broker,
        }
        (home / "state").mkdir()
        (home / "bench_settings.py").write_text("from api.settings import *\nDEBUG = False\n")
        self.manage("migrate", "-v0")

    def manage(self, *words: str) -> str:
        """What a command of the project printed."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(command, cwd=SHOP, env=self._environment, check=True, capture_output=True, text=True)
        return done.stdout

    def check_s(self) -> float:
        """How long `manage.py check` takes."""
        began = time.perf_counter()
        self.manage("check")
        return time.perf_counter() - began

    def ready_s(self) -> float:
        """How long it takes until workers say that they are ready."""
        command = [sys.executable, "manage.py", "rundramatiq", "-p", "4"]
        began = time.perf_counter()
        running = subprocess.Popen(
            command, cwd=SHOP, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert running.stdout is not None
        with running.stdout:
            said = running.stdout.readline()
            took = time.perf_counter() - began
            running.terminate()
            running.wait(PATIENCE_S)
        if not said.startswith(b"rundramatiq: "):
            raise SystemExit("rundramatiq did not get ready")
        return took

    @contextmanager
    def workers(self, processes: int, threads: int) -> Iterator[int]:
        """The supervisor's process id while it runs."""
        command = [sys.executable, "manage.py", "rundramatiq", "-p", str(processes), "-t", str(threads)]
        running = subprocess.Popen(
            command, cwd=SHOP, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield running.pid
        finally:
            running.terminate()
            running.wait(PATIENCE_S)

    def use(self, processes: int, threads: int) -> Use:
        with self.workers(processes, threads) as pid:
            _until(lambda: len(_workers(pid)) == processes)
            time.sleep(SETTLE_S)
            self.manage("shell", "-c", SEND.format(TASKS_EACH * processes))
            _until(lambda: self.manage("shell", "-c", LEFT).split()[-1] == "0")
            time.sleep(SETTLE_S)
            each = [pss_bytes(worker) for worker in _workers(pid)]
            everything = sum(pss_bytes(one) for one in tree([pid]))
        return Use(processes, everything / MIB, statistics.mean(each) / MIB)


def _workers(pid: int) -> list[int]:
    return [one for one in tree([pid]) if Path(f"/proc/{one}/comm").read_text().startswith("worker")]


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        if time.monotonic() > deadline:
            raise SystemExit("the workers did not get ready")
        time.sleep(0.1)


def startup(shop: Shop, rounds: int) -> str:
    shop.check_s(), shop.ready_s()  # the first ones write the bytecode
    pairs = [(shop.check_s(), shop.ready_s()) for _ in range(rounds)]
    check, ready = (statistics.median(times) for times in zip(*pairs, strict=True))
    return f"manage.py check {check * 1000:.0f} ms, rundramatiq -p 4 ready {ready * 1000:.0f} ms: {ready / check:.2f}"


def memory(shop: Shop, counts: Sequence[int], threads: int) -> Iterator[str]:
    yield f"{'processes':>9} {'PSS of all':>12} {'of a worker':>12} {'one more':>10}  (MiB, {threads} threads each)"
    before = None
    for processes in counts:
        now = shop.use(processes, threads)
        step = f"{(now.all - before.all) / (now.processes - before.processes):10.1f}" if before else ""
        yield f"{now.processes:9} {now.all:12.1f} {now.one:12.1f} {step}"
        before = now


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench workers", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8], metavar="N", help="how many (2 4 8)")
    parser.add_argument("--threads", type=int, default=4, help="of each process (4)")
    parser.add_argument("--broker", default="", help="a URL (the project's SQLite)")
    parser.add_argument("--rounds", type=int, default=5, help="starts (5)")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as name:
        shop = Shop(Path(name), options.broker)
        print(startup(shop, options.rounds), flush=True)
        for line in memory(shop, options.processes, options.threads):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
