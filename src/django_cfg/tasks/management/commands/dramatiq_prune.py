"""`python manage.py dramatiq_prune`: delete old records, attempts, results and rollups."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cfg.tasks import actions, upkeep
from django_cfg.tasks.audit import local_operator
from django_cfg.tasks.management.console import USAGE, OperatorCommand, confirmed, duration, reachable
from django_cfg.tasks.upkeep import Pruned

DAY_S = 86_400


class Command(OperatorCommand):
    help = (
        "Delete what is kept no longer. Dead letters and their records stay until someone clears them. Workers do the "
        "same once a day. Exit codes: 0, 1 (not confirmed), 2 (usage), 3 (no answer)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=duration, metavar="AGE", help="age of records and attempts (record_retention_days)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--yes", "--no-input", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, **options: Any) -> None:
        days = None if options["older_than"] is None else options["older_than"] / DAY_S
        with reachable():
            pruned = upkeep.prune(days, dry_run=True)
            if pruned.total and not options["dry_run"]:
                self._ask(pruned, options)
                pruned = actions.prune(days, by=local_operator("command"))
        self.stdout.write(report(pruned, options))

    def _ask(self, pruned: Pruned, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            if options["json"]:
                self.stdout.write(report(pruned, {**options, "dry_run": True}))
            raise CommandError(f"{pruned.total} rows would be deleted. Say --yes to delete them.", returncode=USAGE)
        if not confirmed(f"Delete {pruned.total} rows ({in_words(pruned)})?"):
            raise CommandError("Nothing was deleted.", returncode=1)


def report(pruned: Pruned, options: dict[str, Any]) -> str:
    if options["json"]:
        return json.dumps({"schema": 1, "pruned": asdict(pruned), "dry_run": options["dry_run"]})
    if options["dry_run"]:
        return f"Would delete {_number(pruned.total)} rows: {in_words(pruned)}."
    return f"Deleted {pruned.total} rows: {', '.join(f'{n} {name}' for name, n in _named(pruned))}."


def _named(pruned: Pruned) -> list[tuple[str, int]]:
    return [(name.replace("_", " "), count) for name, count in asdict(pruned).items()]


def in_words(pruned: Pruned) -> str:
    """A number at which counting stopped, or above, has a plus."""
    return ", ".join(f"{_number(count)} {name}" for name, count in _named(pruned))


def _number(count: int) -> str:
    return f"{count}+" if count >= upkeep.MOST_COUNTED else str(count)
