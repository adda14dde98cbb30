"""`python manage.py dramatiq_workers`: which worker processes there are, and what their threads run."""

from __future__ import annotations

import json
import time
from argparse import ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cfg.tasks import queries
from django_cfg.tasks.management.console import CHECK_FAILED, OperatorCommand, duration, reachable
from django_cfg.tasks.worker.queue_names import split
from django_cfg.tasks.worker.roster import WorkerStats
from django_cfg.units import humane, s_to_ms

HEADER = ("worker", "status", "busy", "memory", "up", "seen", "queues")


def at_least_one(text: str) -> int:
    """A number of workers."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


class Command(OperatorCommand):
    help = (
        "Show the worker processes: active, idle or lost, and what they run. Web processes are never counted. "
        "Exit codes: 0, 2 (usage), 3 (no answer), 5 (--check: too few workers)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--queue", "--queues", nargs="+", action="extend", default=[], help="only workers that serve one of these")
        add("--local", action="store_true", help="only workers of this host or container")
        add("--check", action="store_true", help="for probes: one line, and exit code 5 if too few workers live")
        add("--min", type=at_least_one, default=1, metavar="N", help="how many workers --check asks for (1)")
        add("--json", action="store_true", help="one JSON document (one a look with --watch)")
        add("--watch", nargs="?", const=2.0, type=duration, metavar="S", help="look again every S seconds (2)")

    def handle(self, **options: Any) -> None:
        try:
            self._look(options)
        except KeyboardInterrupt:
            return  # how a watch ends

    def _look(self, options: dict[str, Any]) -> None:
        while True:
            with reachable():
                found = choose(queries.workers(), split(options["queue"]), is_local=options["local"])
            self._show(found, options)
            if options["watch"] is None:
                return
            self.stdout.flush()
            time.sleep(options["watch"])
            if not options["json"]:
                self.stdout.write("")

    def _show(self, found: list[WorkerStats], options: dict[str, Any]) -> None:
        if options["check"] and (complaint := too_few(found, options["min"])):
            raise CommandError(complaint, returncode=CHECK_FAILED)
        if options["json"]:
            self.stdout.write(as_json(found))
        else:
            asked = nobody(split(options["queue"]), is_local=options["local"])
            self.stdout.write(summary(found) if options["check"] else as_text(found, asked))


def choose(found: list[WorkerStats], queues: list[str], *, is_local: bool) -> list[WorkerStats]:
    """The workers that serve one of the queues (none named: any), on this host if asked."""
    return [w for w in found if (w.is_local or not is_local) and (not queues or set(queues) & set(w.queues))]


def too_few(found: list[WorkerStats], least: int) -> str:
    """What is wrong, or nothing."""
    if sum(w.is_alive for w in found) >= least:
        return ""
    return f"{summary(found)}; expected at least {least}. Start some: python manage.py rundramatiq"


def summary(found: list[WorkerStats]) -> str:
    """How many there are of each status."""
    counts = {status: sum(w.status == status for w in found) for status in ("active", "idle", "lost")}
    return "Workers: " + ", ".join(f"{number} {status}" for status, number in counts.items())


def nobody(queues: list[str], *, is_local: bool) -> str:
    """What to say when nobody is what was asked for; there may be others."""
    which = (" of this host" if is_local else "") + (f" serves {', '.join(queues)}" if queues else "")
    return f"No worker{which or 's'}. Start some: python manage.py rundramatiq"


def as_text(found: list[WorkerStats], nobody: str) -> str:
    if not found:
        return nobody
    rows = [HEADER, *(row(worker) for worker in found)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADER))]
    lines = [[_line(rows[0], widths)]]
    lines += [[_line(row(worker), widths), *_running(worker)] for worker in found]
    return "\n".join(text for group in lines for text in group) + f"\n{summary(found)}"


def row(worker: WorkerStats) -> tuple[str, ...]:
    memory = "-" if worker.rss_bytes is None else f"{worker.rss_bytes / 2**20:.0f} MiB"
    return (
        f"{worker.host}:{worker.pid}",
        worker.status.value,
        f"{len(worker.running)}/{worker.threads}",
        memory,
        humane(s_to_ms(worker.uptime_s)),
        f"{humane(s_to_ms(worker.heartbeat_age_s))} ago",
        ", ".join(worker.queues),
    )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _running(worker: WorkerStats) -> list[str]:
    return [
        f"    thread {task.thread}: {task.task} {task.message_id} for {humane(s_to_ms(task.running_s))}"
        for task in worker.running
    ]


def as_json(found: list[WorkerStats]) -> str:
    return json.dumps({"schema": 1, "workers": [asdict(worker) for worker in found]})
