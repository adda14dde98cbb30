"""`python manage.py dramatiq_doctor`: what is wrong with background work, or with one task, and the cure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cfg.tasks import conf
from django_cfg.tasks.doctor import Fact, Finding, examine_project, examine_task
from django_cfg.tasks.management.console import CHECK_FAILED, NOTHING_FOUND, UNREACHABLE, OperatorCommand, reachable
from django_cfg.tasks.management.records_text import printable
from django_cfg.tasks.worker.discover import discover

MARKS = {Finding.OK: "ok  ", Finding.WARN: "WARN", Finding.FAIL: "FAIL", Finding.UNKNOWN: "?   "}


class Command(OperatorCommand):
    help = (
        "Look at everything that keeps tasks from running, or at one task. Exit codes: 0 (nothing fails), 2 (usage), "
        "3 (the broker does not answer), 4 (nobody knows the id), 5 (something fails)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task_id", nargs="?", metavar="TASK_ID", help="why this task is not running")
        parser.add_argument("--strict", action="store_true", help="a warning fails too")
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, **options: Any) -> None:
        discover(conf.read())
        with reachable():
            facts = examine_task(options["task_id"]) if options["task_id"] else examine_project()
        self.stdout.write(as_json(facts) if options["json"] else as_text(facts))
        if found := code(facts, is_strict=options["strict"]):
            raise CommandError(summary(facts), returncode=found)


def code(facts: list[Fact], *, is_strict: bool) -> int:
    """The exit code for the worst fact."""
    failed = {fact.name for fact in facts if fact.finding is Finding.FAIL}
    if "broker" in failed:
        return UNREACHABLE
    if any(fact.name == "unknown" for fact in facts):
        return NOTHING_FOUND
    is_warned = any(fact.finding is Finding.WARN for fact in facts)
    return CHECK_FAILED if failed or (is_strict and is_warned) else 0


def summary(facts: list[Fact]) -> str:
    counts = [(sum(fact.finding is finding for fact in facts), finding.value) for finding in Finding]
    return "facts: " + ", ".join(f"{number} {word}" for number, word in counts if number)


def as_text(facts: list[Fact]) -> str:
    return "\n".join(line(fact) for fact in facts)


def line(fact: Fact) -> str:
    cure = f" -> {fact.cure}" if fact.cure else ""
    return printable(f"{MARKS[fact.finding]} {fact.name}: {fact.text}{cure}")


def as_json(facts: list[Fact]) -> str:
    return json.dumps({"schema": 1, "facts": [asdict(fact) for fact in facts]})
