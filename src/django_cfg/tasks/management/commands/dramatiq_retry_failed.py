"""`python manage.py dramatiq_retry_failed`: give dead letters a fresh life."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from django_cfg.tasks import actions, queries
from django_cfg.tasks.audit import local_operator
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.management.console import (
    OperatorCommand,
    add_choice,
    chosen,
    duration,
    reachable,
    refuse_unknown_choice,
)
from django_cfg.tasks.records.filter import TaskFilter
from django_cfg.units import counted


class Command(OperatorCommand):
    help = "Retry dead letters (failed tasks), all or a choice, each with a fresh count of attempts."

    def add_arguments(self, parser: CommandParser) -> None:
        add_choice(parser)
        parser.add_argument(
            "--spread", type=duration, default=0.0, metavar="TIME", help="start them at random moments within: 30s, 10m"
        )

    def handle(self, **options: Any) -> None:
        only = chosen(options)
        with reachable():
            count = queries.count_failed(only)
            if not count:
                refuse_unknown_choice(options)
            retried = 0 if options["dry_run"] else self._retry(only, options["spread"])
        self.stdout.write(report(count, retried, options))

    def _retry(self, only: DeadFilter | TaskFilter, spread_s: float) -> int:
        by = local_operator("command")
        if isinstance(only, DeadFilter):
            return actions.retry_failed(only, spread_s=spread_s, by=by)
        return actions.retry_matching(only, spread_s=spread_s, by=by)


def report(count: int, retried: int, options: dict[str, Any]) -> str:
    if options["json"]:
        return json.dumps({"schema": 1, "matched": count, "retried": retried, "dry_run": options["dry_run"]})
    return (
        f"Would retry {counted(count, 'dead letter')}."
        if options["dry_run"]
        else f"Retried {counted(retried, 'dead letter')}."
    )
