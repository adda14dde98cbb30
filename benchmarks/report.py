"""Figures as lines of a terminal, and as sections of docs/performance.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.measure import Figures

#: Of one contestant.
Rounds = Sequence[Figures]
WIDTHS = (16, 16, 16, 6, 16, 14, 8, 6, 6, 5)
COLUMNS = (
    "single/s",
    "bulk/s",
    "drain/s",
    "spread",
    "results/s",
    "idle p50/p99 ms",
    "rare p50",
    "CPU us",
    "PSS MB",
    "B/msg",
)
TITLES = (
    "enqueue, single /s", "enqueue, bulk /s", "drain /s", "best / worst", "drain with results /s", "idle p50 / p99 ms",
    "rare p50 ms", "worker CPU µs/task", "PSS MB/process", "bytes/message", "lost", "repeated",
)  # fmt: skip


def heading(options: argparse.Namespace) -> str:
    shape = f"{options.tasks} tasks, {options.processes} processes x {options.threads} threads"
    columns = " ".join(f"{column:>{width}}" for column, width in zip(COLUMNS, WIDTHS, strict=True))
    delay = f", {options.delay:g} ms of delay each way" if options.delay else ""
    return f"{shape}, {options.rounds} rounds{delay}, Python {platform.python_version()}\n{'':28} {columns}"


def median(rounds: Rounds, name: str) -> float | None:
    values = [getattr(figures, name) for figures in rounds]
    return None if None in values else statistics.median(values)


def rate(rounds: Rounds, yardstick: Rounds, name: str, of_yardstick: str = "") -> str:
    """The median of a rate, and that of its ratios to the yardstick's in the same round."""
    value = median(rounds, name)
    if value is None:
        return "–"
    bars = [getattr(figures, of_yardstick or name) for figures in yardstick]
    if not all(bars):
        return f"{value:,.0f}"
    ratios = [getattr(figures, name) / bar for figures, bar in zip(rounds, bars, strict=True)]
    return f"{value:,.0f} ({statistics.median(ratios):.2f})"


def spread(rounds: Rounds) -> str:
    """The ratio of the best drain to the worst one."""
    drains = [figures.drain for figures in rounds if figures.drain]
    return f"{max(drains) / min(drains):.2f}" if drains else "–"


def plain(rounds: Rounds, name: str, digits: int = 1) -> str:
    value = median(rounds, name)
    return "–" if value is None else f"{value:,.{digits}f}"


def cells(rounds: Rounds, yardstick: Rounds) -> list[str]:
    """The columns; a bulk enqueue is compared to the yardstick's single one, since it has no bulk."""
    return [
        rate(rounds, yardstick, "single"),
        rate(rounds, yardstick, "bulk", "single"),
        rate(rounds, yardstick, "drain"),
        spread(rounds),
        rate(rounds, yardstick, "with_results"),
        f"{plain(rounds, 'idle_p50')} / {plain(rounds, 'idle_p99')}",
        plain(rounds, "rare_p50"),
        plain(rounds, "cpu_us", 0),
        plain(rounds, "pss_mb", 0),
        plain(rounds, "message_bytes", 0),
        str(lost(rounds)),
        str(repeated(rounds)),
    ]


def lost(rounds: Rounds) -> int:
    return sum(figures.lost for figures in rounds)


def repeated(rounds: Rounds) -> int:
    return sum(figures.repeated for figures in rounds)


def line(name: str, rounds: Rounds, yardstick: Rounds) -> str:
    found = cells(rounds, yardstick)
    columns = " ".join(f"{cell:>{width}}" for cell, width in zip(found, WIDTHS, strict=False))
    wrong = f"  LOST {lost(rounds)}" if lost(rounds) else ""
    return f"{name:28} {columns}{wrong}" + (f"  repeated {repeated(rounds)}" if repeated(rounds) else "")


def write(
    page: Path,
    options: argparse.Namespace,
    words: Sequence[str],
    found: Sequence[tuple[Contestant, Rounds]],
) -> None:
    """Replace the section of this command, or add it at the end of the page."""
    command = shlex.join(["python3", "dev.py", "bench", *words])
    text = page.read_text()
    section = _section(command, options, found)
    pattern = re.compile(rf"### `{re.escape(command)}`\n.*?(?=\n### |\Z)", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    page.write_text(f"{text.rstrip()}\n")


def _section(command: str, options: argparse.Namespace, found: Sequence[tuple[Contestant, Rounds]]) -> str:
    yardstick = found[0][1]
    rows = [f"| {contestant.name} | {' | '.join(cells(rounds, yardstick))} |" for contestant, rounds in found]
    return "\n".join(
        [
            f"### `{command}`",
            "",
            f"{_versions([contestant for contestant, _ in found])}.",
            "",
            f"| | {' | '.join(TITLES)} |",
            "| --- " * (len(TITLES) + 1) + "|",
            *rows,
        ]
    )


def _versions(contestants: Sequence[Contestant]) -> str:
    packages = {"django"} | {package for contestant in contestants for package in contestant.packages}
    found = [f"{package} {importlib.metadata.version(package)}" for package in sorted(packages)]
    return ", ".join([f"Python {platform.python_version()}", *found])
