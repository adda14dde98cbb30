"""`python3 dev.py bench`: our brokers next to stock Dramatiq on Redis and to other queues, in one run.

Tasks do nothing but mark their start. Drain is (N - 1) / (last start - first start) with a full queue before the
workers start. Figures of different runs must not be compared; ratios to the yardstick of the same run may.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.contestants import OURS, PEERS, STOCK, Contestant
from benchmarks.measure import Load, measure


def chosen(options: argparse.Namespace) -> list[Contestant]:
    """The yardstick first, then ours, then the peers; without a choice, ours alone."""
    ours = [c for c in OURS if not options.broker or c.name in options.broker]
    if options.peers and not options.broker:
        ours = []
    peers = [c for c in PEERS if "all" in options.peers or c.name in options.peers]
    return [STOCK, *ours, *peers]


def names(contestants: Sequence[Contestant]) -> str:
    return ", ".join(repr(contestant.name) for contestant in contestants)


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    add = parser.add_argument
    add("--broker", action="append", default=[], choices=[c.name for c in OURS], metavar="NAME",
        help=f"one of ours: {names(OURS)}; repeatable")  # fmt: skip
    add("--peers", action="append", default=[], choices=["all", *(c.name for c in PEERS)], metavar="NAME",
        help=f"'all' or one of {names(PEERS)}; repeatable")  # fmt: skip
    add("--delay", type=float, default=0.0, metavar="MS", help="network delay to the server, each way (0)")
    add("--tasks", type=int, default=10_000, help="tasks a round (10000)")
    add("--rounds", type=int, default=3, help="rounds; the medians are reported (3)")
    add("--processes", type=int, default=2)
    add("--threads", type=int, default=8)
    add("--write", action="store_true", help="put the table into docs/performance.md")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    options = parse(words)
    load = Load(options.tasks, options.processes, options.threads)
    contestants = chosen(options)
    print(report.heading(options), flush=True)
    rounds = measure(
        contestants, load, options.rounds, options.delay, lambda number: print(f"round {number}", flush=True)
    )
    found = list(zip(contestants, rounds, strict=True))
    for contestant, figures in found:
        print(report.line(contestant.name, figures, rounds[0]), flush=True)
    if options.write:
        page = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
        report.write(page, options, words, found)
        print(f"wrote {page}")


if __name__ == "__main__":
    main(sys.argv[1:])
