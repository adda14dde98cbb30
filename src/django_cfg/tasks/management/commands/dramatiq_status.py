"""`python manage.py dramatiq_status`: what waits and runs, by queue."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from django.core.management.base import CommandParser

from django_cfg.tasks import conf, queries
from django_cfg.tasks.brokers.contract import QueueStats, shown
from django_cfg.tasks.brokers.outbox.look import Backlog
from django_cfg.tasks.management.console import OperatorCommand, duration, reachable, refuse_unknown_queue
from django_cfg.tasks.worker.discover import discover
from django_cfg.tasks.worker.queue_names import split
from django_cfg.units import humane, s_to_ms


@dataclass(frozen=True, slots=True)
class Found:
    """What one look has seen."""

    queues: list[QueueStats]
    paused: frozenset[str]
    outbox: list[Backlog]
    records_dropped: int


def look(names: list[str]) -> Found:
    """Ask the broker and the database of the records."""
    chosen = choose(queries.queue_stats(), names)
    return Found(chosen, queries.paused_queues(), queries.outbox(), queries.records_dropped())


class Command(OperatorCommand):
    help = "Show how many tasks wait and run in each queue. Exit codes: 0, 2 (unknown queue), 3 (no answer)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queue", "--queues", nargs="+", action="extend", default=[], help="only these queues")
        parser.add_argument(
            "--verbose", action="store_true", help="also scheduled, retrying, dead, oldest waiting, records dropped"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document (one a look with --watch)")
        parser.add_argument(
            "--watch", nargs="?", const=2.0, type=duration, metavar="S", help="look again every S seconds (2)"
        )

    def handle(self, **options: Any) -> None:
        discover(conf.read())
        try:
            self._look(options)
        except KeyboardInterrupt:
            return  # how a watch ends

    def _look(self, options: dict[str, Any]) -> None:
        while True:
            with reachable():
                found = look(split(options["queue"]))
            self.stdout.write(as_json(found) if options["json"] else as_text(found, options["verbose"]))
            if options["watch"] is None:
                return
            self.stdout.flush()
            time.sleep(options["watch"])
            if not options["json"]:
                self.stdout.write("")


def choose(found: list[QueueStats], names: list[str]) -> list[QueueStats]:
    """The asked queues in the asked order; all of them if none was asked for."""
    known = {stats.queue: stats for stats in found}
    for name in names:
        refuse_unknown_queue(name, known)
    return [known[name] for name in names] if names else found


def as_text(found: Found, is_verbose: bool) -> str:
    lines = [_queue(stats, stats.queue in found.paused, is_verbose) for stats in found.queues]
    lines = lines or ["No queues: no task is declared, and nothing waits."]
    last = [f"Records: {found.records_dropped} dropped"] if is_verbose else []
    return "\n".join([*lines, *map(outbox_line, found.outbox), *last])


def _queue(stats: QueueStats, is_paused: bool, is_verbose: bool) -> str:
    return line(stats) + (more(stats) if is_verbose else "") + (", paused" if is_paused else "")


def outbox_line(backlog: Backlog) -> str:
    refused = f", {backlog.refused} refused" if backlog.refused else ""
    age = humane(s_to_ms(backlog.oldest_age_s))
    return f"Outbox: {backlog.alias} ({backlog.waiting} on their way to the broker{refused}, oldest {age})"


def line(stats: QueueStats) -> str:
    return f"Queue: {stats.queue} ({stats.pending} pending, {shown(stats.running)} processing)"


def more(stats: QueueStats) -> str:
    age = stats.oldest_pending_age_s
    oldest = "-" if age is None else humane(s_to_ms(age))
    return f" {stats.scheduled} scheduled, {shown(stats.retrying)} retrying, {stats.dead} dead, oldest waiting {oldest}"


def as_json(found: Found) -> str:
    rows = [{**asdict(stats), "paused": stats.queue in found.paused} for stats in found.queues]
    outbox = list(map(asdict, found.outbox))
    return json.dumps({"schema": 1, "queues": rows, "outbox": outbox, "records_dropped": found.records_dropped})
