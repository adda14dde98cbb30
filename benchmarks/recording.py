"""`python3 dev.py bench recording`: processor time of workers for a task, with `records="all"` and without records.

Both drain the same number of tasks that do nothing, one after the other in every round, so that a busy machine is busy
for both; what is printed are the medians of the rounds and of their differences. Waiting for the database is no
processor time. "off again" is a control: what it differs from "off" is noise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import servers
from benchmarks.contestants import Contestant, ours
from benchmarks.measure import Bench, Load

STORES = {"sqlite": servers.sqlite, "postgres": servers.postgres, "mariadb": servers.mariadb}


def microseconds(contestant: Contestant, load: Load) -> tuple[float, float]:
    """Processor time of all workers for a task, and tasks per second."""
    with tempfile.TemporaryDirectory(prefix="django-cfg-bench-") as folder, contestant.store(Path(folder), 0) as store:
        bench = Bench(contestant, store, Path(folder), load)
        bench.prepare()
        bench.slots.clear()
        bench.produce("fill", 2, load.tasks)
        drain, cpu_s, lost, _ = bench.drain(load.tasks)
    if lost:
        raise SystemExit(f"{contestant.name}: {lost} tasks are lost")
    return cpu_s / load.tasks * 1e6, drain


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench recording", description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks a round (20000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument("--database", action="append", choices=STORES, help="default: all")
    options = parser.parse_args(words)
    for name in options.database or STORES:
        print(line(name, Load(options.tasks, processes=2, threads=8), options.rounds), flush=True)


def in_turn(policies: Mapping[str, Contestant], load: Load, number: int) -> dict[str, tuple[float, float]]:
    """One round; each begins with another policy, because the machine is not equally quick all the time."""
    names = list(policies)
    start = number % len(names)
    return {name: microseconds(policies[name], load) for name in names[start:] + names[:start]}


def line(name: str, load: Load, rounds: int) -> str:
    policies = {
        label: ours(f"{name}, {label}", STORES[name], records=label.split()[0])
        for label in ("off", "off again", "failures", "all")
    }
    found = [in_turn(policies, load, number) for number in range(rounds)]
    texts = [f"{name:10}"]
    for policy in policies:
        cpu_us, drain = (statistics.median(figures) for figures in zip(*(r[policy] for r in found), strict=True))
        more_us = statistics.median(r[policy][0] - r["off"][0] for r in found)
        less = statistics.median(1 - r[policy][1] / r["off"][1] for r in found)
        texts.append(f"{policy}: {cpu_us:.0f} us ({more_us:+.0f}), {drain:,.0f} tasks/s ({-less:+.1%})")
    return "   ".join(texts)


if __name__ == "__main__":
    main(sys.argv[1:])
