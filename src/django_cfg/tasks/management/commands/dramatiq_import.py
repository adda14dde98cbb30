"""`python manage.py dramatiq_import`: take over what waits in stock Dramatiq or in django-tasks-db."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.module_loading import import_string

from django_cfg.tasks import conf, queries
from django_cfg.tasks.management.console import USAGE, OperatorCommand, confirmed, reachable
from django_cfg.tasks.management.imports import of_django_tasks_db
from django_cfg.tasks.worker.discover import discover
from django_cfg.units import counted


class Command(OperatorCommand):
    help = (
        "Move the messages of a stock Dramatiq namespace in Redis into this project's broker: waiting, delayed and "
        "dead ones; or the waiting tasks of django-tasks-db. Counts first, and asks on a terminal. Stop the other "
        "workers before."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", nargs="?", help="the Redis of stock Dramatiq: redis://host:6379/0")
        parser.add_argument(
            "--from", choices=("dramatiq", "django-tasks-db"), default="dramatiq", dest="source",
            help="where they wait now (dramatiq)",
        )  # fmt: skip
        parser.add_argument("--database", default="default", help="where django-tasks-db has its table (default)")
        parser.add_argument("--backend", default="default", help="the alias of TASKS that takes its tasks (default)")
        parser.add_argument("--namespace", default="dramatiq", help="its namespace (dramatiq)")
        parser.add_argument("--queue", "--queues", nargs="+", action="extend", default=[], help="only these queues")
        parser.add_argument(
            "--held", action="store_true", help="also what stock workers have fetched; they run it again if they live"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--yes", "--no-input", action="store_true", help="do not ask")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, **options: Any) -> None:
        if options["source"] == "django-tasks-db":
            discover(conf.read())
            with reachable():
                self.stdout.write(of_django_tasks_db.run(options))
        else:
            self._from_dramatiq(options)

    def _from_dramatiq(self, options: dict[str, Any]) -> None:
        if options["url"] is None:
            raise CommandError("name the Redis of stock Dramatiq: redis://host:6379/0", returncode=USAGE)
        if find_spec("redis") is None:
            raise CommandError("this needs the extra redis: pip install 'django-cfg-tasks[redis]'", returncode=USAGE)
        discover(conf.read())
        # By name, because the client library is optional.
        opened = import_string("django_cfg.tasks.brokers.redis.stock.StockNamespace")
        stock = opened(options["url"], options["namespace"])
        try:
            with reachable():
                self._import(stock, options)
        finally:
            stock.close()

    def _import(self, stock: Any, options: dict[str, Any]) -> None:
        found = stock.count(options["queue"])
        if found and not options["dry_run"]:
            self._ask(found, is_sure=options["yes"])
            for queue in found:
                stock.move(queries.broker(), queue, with_held=options["held"])
        self.stdout.write(as_json(found, options) if options["json"] else as_text(found, options))

    def _ask(self, found: list[Any], *, is_sure: bool) -> None:
        if is_sure:
            return
        total = sum(one.waiting + one.delayed + one.dead for one in found)
        if not sys.stdin.isatty():
            raise CommandError(f"{counted(total, 'message')} would be moved. Say --yes to move.", returncode=USAGE)
        if not confirmed(f"Move {counted(total, 'message')}? They are deleted where they are."):
            raise CommandError("Nothing was moved.", returncode=1)


def as_text(found: list[Any], options: dict[str, Any]) -> str:
    lines = [_line(one, options) for one in found]
    lines += [f"left in place: {text}" for one in found for text in one.refused]
    return "\n".join(lines) or f"Nothing of stock Dramatiq stands below {options['namespace']}:."


def _line(found: Any, options: dict[str, Any]) -> str:
    counts = f"{found.waiting} waiting, {found.delayed} delayed, {found.dead} dead, {found.held} held by stock workers"
    done = "" if options["dry_run"] else f"; {found.imported} imported, {len(found.refused)} left in place"
    return f"Queue: {found.queue} ({counts}){done}"


def as_json(found: list[Any], options: dict[str, Any]) -> str:
    return json.dumps({"schema": 1, "dry_run": options["dry_run"], "queues": [asdict(one) for one in found]})
