"""`python manage.py dramatiq_clear_failed`: delete dead letters."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cfg.tasks import actions, queries
from django_cfg.tasks.audit import local_operator
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.management.console import (
    USAGE,
    OperatorCommand,
    add_choice,
    chosen,
    confirmed,
    reachable,
    refuse_unknown_choice,
)
from django_cfg.tasks.records.filter import TaskFilter
from django_cfg.units import counted


class Command(OperatorCommand):
    help = "Delete dead letters (failed tasks), all or a choice. Counts first, and asks on a terminal."

    def add_arguments(self, parser: CommandParser) -> None:
        add_choice(parser)
        parser.add_argument("--yes", "--no-input", action="store_true", help="do not ask")

    def handle(self, **options: Any) -> None:
        only = chosen(options)
        with reachable():
            count = queries.count_failed(only)
            if not count:
                refuse_unknown_choice(options)
            if count and not options["dry_run"]:
                self._ask(count, options)
            cleared = self._clear(only) if count and not options["dry_run"] else 0
        self.stdout.write(report(count, cleared, options))

    def _clear(self, only: DeadFilter | TaskFilter) -> int:
        by = local_operator("command")
        if isinstance(only, DeadFilter):
            return actions.clear_failed(only, by=by)
        return actions.clear_matching(only, by=by)

    def _ask(self, count: int, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            if options["json"]:
                self.stdout.write(report(count, 0, options))
            text = f"{counted(count, 'dead letter')} would be deleted. Say --yes to delete."
            raise CommandError(text, returncode=USAGE)
        if not confirmed(f"Delete {counted(count, 'dead letter')}? Nothing brings back what is deleted."):
            raise CommandError("Nothing was deleted.", returncode=1)


def report(count: int, cleared: int, options: dict[str, Any]) -> str:
    if options["json"]:
        return json.dumps({"schema": 1, "matched": count, "cleared": cleared, "dry_run": options["dry_run"]})
    return (
        f"Would delete {counted(count, 'dead letter')}."
        if options["dry_run"]
        else f"Deleted {counted(cleared, 'dead letter')}."
    )
