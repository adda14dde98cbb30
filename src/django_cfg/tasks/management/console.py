"""What the operator commands share: durations, the choice of dead letters, exit codes."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError, InterfaceError

from django_cfg.errors import BrokerError, BrokerUnreachable, DjangoCfgError, FilterError
from django_cfg.tasks import queries
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.records.filter import TaskFilter, of_arguments

GRAMMAR = (
    "words like state:failed task:NAME queue:NAME error:TEXT group:ID tag:NAME worker:TEXT parent:ID "
    "since:2h before:2026-01-31; commas mean any of"
)
USAGE, UNREACHABLE, NOTHING_FOUND, CHECK_FAILED, INTERRUPTED = 2, 3, 4, 5, 130
#: A hundred years: what calendars and databases can still subtract from now.
LONGEST_DAYS = 36_500
MOST_SHOWN = 100_000
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> float:
    """Seconds from `90`, `90s`, `15m`, `2h` or `7d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise ArgumentTypeError(f"expected a duration like 90s, 15m, 2h or 7d, got {text!r}")
    seconds = float(found[1]) * SECONDS[found[2] or "s"]
    if seconds > LONGEST_DAYS * SECONDS["d"]:
        raise ArgumentTypeError(f"expected a duration of at most {LONGEST_DAYS}d, got {text!r}")
    return seconds


def between(low: int, high: int, text: str) -> int:
    """An argument that is a whole number in a range."""
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if not low <= number <= high:
        raise ArgumentTypeError(f"must be between {low} and {high}, got {number}")
    return number


def how_many(text: str) -> int:
    """How much to show at most."""
    return between(1, MOST_SHOWN, text)


def refuse_unknown_queue(name: str, known: Collection[str]) -> None:
    """A mistyped name would otherwise look like an act that was done.

    Raises:
        CommandError: no queue has this name.
    """
    if name not in known:
        text = f"no queue is named {name!r}; known: {', '.join(known) or 'none'}"
        raise CommandError(text, returncode=USAGE)


def refuse_unknown_choice(options: dict[str, Any]) -> None:
    """Where nothing matches, because of a mistyped queue perhaps."""
    if options["queue"]:
        refuse_unknown_queue(options["queue"], [stats.queue for stats in queries.queue_stats()])


def confirmed(question: str) -> bool:
    """Ask on a terminal. The question is no part of the output, which may go to another program; Ctrl-D means no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


@contextmanager
def being_read(stdout: OutputWrapper) -> Iterator[None]:
    """Output that nobody reads to its end (`| head -1`) is no failure."""
    try:
        yield
        stdout.flush()
    except BrokenPipeError:
        # Or Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class OperatorCommand(BaseCommand):
    """A command whose output may be cut off, and which Ctrl-C ends in one line."""

    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> None:
        try:
            with being_read(self.stdout):
                super().execute(*args, **options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None


def add_choice(parser: CommandParser) -> None:
    """The words and options that choose dead letters."""
    parser.add_argument("filter", nargs="*", default=[], help=GRAMMAR)
    parser.add_argument("--queue", help="only of this queue")
    parser.add_argument("--task", help="only of this task")
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="only this message; may be repeated")
    parser.add_argument("--error", help="only those whose error or reason contains this text")
    parser.add_argument("--older-than", type=duration, metavar="AGE", help="only those that died longer ago: 2h, 7d")
    parser.add_argument("--since", type=duration, metavar="AGE", help="only those that died within: 90s, 2h, 7d")
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def chosen(options: dict[str, Any]) -> DeadFilter | TaskFilter:
    """What words and options mean together; none given means all. Of records, where only those can tell.

    Raises:
        CommandError: the words say nothing clear, or the same as an option.
    """
    if not options["filter"]:
        return _by_options(options)
    try:
        only = _with_options(of_arguments(options["filter"]), options)
        return queries.letters_meant(only) or only
    except FilterError as error:
        raise CommandError(str(error), returncode=USAGE) from error


def _with_options(only: TaskFilter, options: dict[str, Any]) -> TaskFilter:
    given = {
        "tasks": (options["task"],) if options["task"] else (),
        "queues": (options["queue"],) if options["queue"] else (),
        "ids": tuple(options["id"]),
        "error": options["error"],
        "since": _ago(options["since"]),
        "before": _ago(options["older_than"]),
    }
    for name, value in given.items():
        if value and getattr(only, name):
            raise FilterError(f"{name}: given as a word and as an option; say it once")
    return replace(only, **{name: value for name, value in given.items() if value})


def _ago(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)


def _by_options(options: dict[str, Any]) -> DeadFilter:
    return DeadFilter(
        queue=options["queue"],
        task=options["task"],
        message_ids=tuple(options["id"]),
        error=options["error"],
        older_than_s=options["older_than"],
        newer_than_s=options["since"],
        everything=True,
    )


@contextmanager
def reachable() -> Iterator[None]:
    """Who does not answer is named in one line with exit code 3, what is wrong in one with 2; no traceback."""
    try:
        yield
    except BrokerUnreachable as error:
        raise CommandError(f"the broker does not answer: {error}", returncode=UNREACHABLE) from error
    except BrokerError as error:
        raise CommandError(str(error), returncode=UNREACHABLE) from error
    except (DatabaseError, InterfaceError) as error:
        text = f"a database does not answer as it should: {error}; if tables are missing: python manage.py migrate"
        raise CommandError(text, returncode=UNREACHABLE) from error
    except DjangoCfgError as error:
        raise CommandError(str(error), returncode=USAGE) from error
