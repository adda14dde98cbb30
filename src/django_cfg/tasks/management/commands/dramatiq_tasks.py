"""`python manage.py dramatiq_tasks`: single tasks, from the shell."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cfg.tasks import actions, conf, queries
from django_cfg.tasks.audit import local_operator
from django_cfg.tasks.management import records_text as shown
from django_cfg.tasks.management.console import (
    GRAMMAR,
    USAGE,
    OperatorCommand,
    confirmed,
    duration,
    how_many,
    reachable,
    refuse_unknown_queue,
)
from django_cfg.tasks.records.filter import moment, of_arguments
from django_cfg.tasks.worker.discover import discover
from django_cfg.units import counted, s_to_ms


def json_list(text: str) -> list[Any]:
    found: list[Any] = _json_of(list, "a JSON list", text)
    return found


def json_object(text: str) -> dict[str, Any]:
    found: dict[str, Any] = _json_of(dict, "a JSON object", text)
    return found


def _json_of(kind: type[Any], words: str, text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise ArgumentTypeError(f"expected {words}, got {text!r}")
    return found


class Command(OperatorCommand):
    help = (
        "List and show recorded tasks; cancel, enqueue; pause and resume queues. "
        "Exit codes: 0, 1 (not found, nothing done), 2 (usage), 3 (no answer)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, text in VERBS.items():
            verb = verbs.add_parser(name, help=text, description=text)
            verb.add_argument("--json", action="store_true", help="one JSON document")
            getattr(self, f"_{name}_arguments")(verb)

    def _list_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("filter", nargs="*", default=[], help=GRAMMAR)
        parser.add_argument("--limit", type=how_many, default=50, help="at most so many (50)")
        parser.add_argument("--after", default="", metavar="CURSOR", help="go on behind the page before")
        parser.add_argument("--ids", action="store_true", help="only ids, one a line")

    def _show_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id")

    def _cancel_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="+", help="waiting tasks; what runs already is left alone")

    def _pause_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue")

    _resume_arguments = _pause_arguments

    def _enqueue_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task", nargs="?", help="name of a declared task")
        parser.add_argument(
            "--args", dest="arguments", type=json_list, default=[], metavar="JSON", help="for example '[1, \"a\"]'"
        )
        parser.add_argument("--kwargs", type=json_object, default={}, metavar="JSON", help="for example '{\"a\": 1}'")
        parser.add_argument("--delay", type=duration, metavar="TIME", help="start no sooner than in: 30s, 10m, 2h")
        parser.add_argument("--again", metavar="ID", help="a copy of this dead letter, as a task of its own")

    def _failures_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=how_many, default=50, help="at most so many (50)")
        parser.add_argument("--retry", metavar="GROUP", help="retry the dead letters of this group")
        parser.add_argument("--discard", metavar="GROUP", help="delete the dead letters of this group")
        parser.add_argument("--spread", type=duration, default=0.0, metavar="TIME", help="retry within: 30s, 10m")
        parser.add_argument("--yes", "--no-input", action="store_true", help="do not ask before a deletion")

    def _stats_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", default="24h", help="an age or a moment (24h)")
        parser.add_argument("--task", default="", help="only of this task")
        parser.add_argument("--queue", default="", help="only of this queue")

    def _audit_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=how_many, default=50, help="at most so many (50)")

    def handle(self, **options: Any) -> None:
        discover(conf.read())
        with reachable():
            getattr(self, f"_{options['verb']}")(options)

    # -- reading ---------------------------------------------------------------------------------------

    def _list(self, options: dict[str, Any]) -> None:
        page = queries.tasks(of_arguments(options["filter"]), options["limit"], options["after"])
        if options["ids"]:
            self.stdout.write("\n".join(record.message_id for record in page.records))
        else:
            self.stdout.write(shown.page_document(page) if options["json"] else shown.page_text(page))

    def _show(self, options: dict[str, Any]) -> None:
        detail = queries.task(options["id"])
        if detail is None:
            raise CommandError(f"nothing is recorded of {options['id']!r} (records={queries.policy().value!r})")
        self.stdout.write(shown.detail_document(detail) if options["json"] else shown.detail_text(detail))

    def _stats(self, options: dict[str, Any]) -> None:
        since = moment(options["since"], datetime.now(UTC))
        found = queries.task_stats(since, task=options["task"], queue=options["queue"])
        rows = [{name: getattr(stats, name) for name in stats.__slots__} for stats in found]
        self.stdout.write(shown.document(stats=rows) if options["json"] else shown.stats_text(found))

    def _audit(self, options: dict[str, Any]) -> None:
        found = queries.operator_actions(options["limit"])
        rows = [shown.row(action, shown.ACTION) for action in found]
        self.stdout.write(shown.document(actions=rows) if options["json"] else shown.actions_text(found))

    # -- acting ----------------------------------------------------------------------------------------

    def _cancel(self, options: dict[str, Any]) -> None:
        wanted = options["id"]
        done = actions.cancel_many(wanted, by=local_operator("command"))
        told = actions.cancelled_in_words(done, len(wanted))
        self._say(options, told, wanted=len(wanted), cancelled=done.taken, asked=done.asked)
        if sum(done) < len(wanted):
            raise CommandError("What is unknown or has ended cannot be cancelled.", returncode=1)

    def _pause(self, options: dict[str, Any]) -> None:
        refuse_unknown_queue(options["queue"], [stats.queue for stats in queries.queue_stats()])
        actions.pause(options["queue"], by=local_operator("command"))
        self._say(options, f"Paused: {options['queue']}.", queue=options["queue"], paused=True)

    def _resume(self, options: dict[str, Any]) -> None:
        queue = options["queue"]
        if queue not in queries.paused_queues():  # one that is paused may be gone from the code
            refuse_unknown_queue(queue, [stats.queue for stats in queries.queue_stats()])
        actions.resume(options["queue"], by=local_operator("command"))
        self._say(options, f"Resumed: {options['queue']}.", queue=options["queue"], paused=False)

    def _enqueue(self, options: dict[str, Any]) -> None:
        if (options["task"] is None) == (options["again"] is None):
            raise CommandError("name a task, or a dead letter with --again", returncode=USAGE)
        by = local_operator("command")
        if options["again"] is not None:
            sent = actions.enqueue_again(options["again"], by=by)
        else:
            delay = None if options["delay"] is None else s_to_ms(options["delay"])
            sent = actions.enqueue(options["task"], options["arguments"], options["kwargs"], delay=delay, by=by)
        self._say(options, sent.message_id, message_id=sent.message_id, task=sent.actor_name, queue=sent.queue_name)

    def _failures(self, options: dict[str, Any]) -> None:
        by = local_operator("command")
        if options["retry"]:
            count = actions.retry_group(options["retry"], spread_s=options["spread"], by=by)
            self._say(options, f"Retried {counted(count, 'dead letter')}.", retried=count)
        elif options["discard"]:
            self._ask(options)
            count = actions.clear_group(options["discard"], by=by)
            self._say(options, f"Deleted {counted(count, 'dead letter')}.", cleared=count)
        else:
            groups = queries.failures(options["limit"])
            rows = [shown.row(group, shown.GROUP) for group in groups]
            self.stdout.write(shown.document(failures=rows) if options["json"] else shown.groups_text(groups))

    def _ask(self, options: dict[str, Any]) -> None:
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError("Dead letters would be deleted. Say --yes to delete them.", returncode=USAGE)
        if not confirmed(f"Delete the dead letters of {options['discard']}?"):
            raise CommandError("Nothing was deleted.", returncode=1)

    def _say(self, options: dict[str, Any], text: str, **content: Any) -> None:
        self.stdout.write(shown.document(**content) if options["json"] else text)


VERBS = {
    "list": "Recorded tasks, the last changed first.",
    "show": "All that is recorded of one task.",
    "cancel": "Take waiting tasks away.",
    "pause": "Start nothing more from a queue.",
    "resume": "End a pause.",
    "enqueue": "Send a task.",
    "failures": "Failures by fault; retry or delete those of one.",
    "stats": "Counts and percentiles by task.",
    "audit": "What operators did.",
}
