"""Figures as lines of a terminal, and as sections of docs/performance.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.measure import Figures

COLUMNS = ("single/s", "bulk/s", "drain/s", "results/s", "idle p50/p99 ms", "rare p50", "CPU us", "PSS MB", "B/msg")
TITLES = (
    "enqueue, single /s", "enqueue, bulk /s", "drain /s", "drain with results /s", "idle p50 / p99 ms",
    "rare p50 ms", "worker CPU µs/task", "PSS MB/process", "bytes/message", "lost", "repeated",
)  # fmt: skip


def heading(options: argparse.Namespace) -> str:
    shape = f"{options.tasks} tasks, {options.processes} processes x {options.threads} threads"
    widths = (18, 18, 18, 18, 16, 9, 7, 7, 7)
    columns = " ".join(f"{column:>{width}}" for column, width in zip(COLUMNS, widths, strict=True))
    delay = f", {options.delay:g} ms of delay each way" if options.delay else ""
    return f"{shape}, {options.rounds} rounds{delay}, Python {platform.python_version()}\n{'':28} {columns}"


def rate(value: float | None, yardstick: float | None) -> str:
    """A rate and its ratio to the yardstick's."""
    if value is None:
        return "–"
    return f"{value:,.0f} ({value / yardstick:.2f})" if yardstick else f"{value:,.0f}"


def plain(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def cells(figures: Figures, yardstick: Figures) -> list[str]:
    """The columns; a bulk enqueue is compared to the yardstick's single one, since it has no bulk."""
    return [
        rate(figures.single, yardstick.single),
        rate(figures.bulk, yardstick.single),
        rate(figures.drain, yardstick.drain),
        rate(figures.with_results, yardstick.with_results),
        f"{plain(figures.idle_p50)} / {plain(figures.idle_p99)}",
        plain(figures.rare_p50),
        plain(figures.cpu_us, 0),
        plain(figures.pss_mb, 0),
        plain(figures.message_bytes, 0),
        str(figures.lost),
        str(figures.repeated),
    ]


def line(name: str, figures: Figures, yardstick: Figures) -> str:
    widths = (18, 18, 18, 18, 16, 9, 7, 7, 7)
    found = cells(figures, yardstick)
    columns = " ".join(f"{cell:>{width}}" for cell, width in zip(found, widths, strict=False))
    wrong = f"  LOST {figures.lost}" if figures.lost else ""
    return f"{name:28} {columns}{wrong}" + (f"  repeated {figures.repeated}" if figures.repeated else "")


def write(
    page: Path,
    options: argparse.Namespace,
    words: Sequence[str],
    found: Sequence[tuple[Contestant, Figures]],
) -> None:
    """Replace the section of this command, or add it at the end of the page."""
    command = shlex.join(["python3", "dev.py", "bench", *words])
    text = page.read_text()
    section = _section(command, options, found)
    pattern = re.compile(rf"### `{re.escape(command)}`\n.*?(?=\n### |\Z)", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    page.write_text(f"{text.rstrip()}\n")


def _section(command: str, options: argparse.Namespace, found: Sequence[tuple[Contestant, Figures]]) -> str:
    yardstick = found[0][1]
    rows = [f"| {contestant.name} | {' | '.join(cells(figures, yardstick))} |" for contestant, figures in found]
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
