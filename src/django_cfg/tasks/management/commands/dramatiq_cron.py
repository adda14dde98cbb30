"""`python manage.py dramatiq_cron`: run the schedules alone, or look at them and change them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_cfg.errors import ConfigurationError, CronError
from django_cfg.tasks import actions, queries
from django_cfg.tasks.audit import Operator, local_operator
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.database.broker import no_tables
from django_cfg.tasks.cron import look, store
from django_cfg.tasks.cron.due import ms_of
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.cron.look import ScheduleInfo
from django_cfg.tasks.management.commands.rundramatiq import LEVELS, become, configure_logging
from django_cfg.tasks.management.console import USAGE, being_read, reachable
from django_cfg.tasks.management.schedule_chores import has_tables, schedule_chores
from django_cfg.tasks.worker import keeper, reload, spawn
from django_cfg.tasks.worker.ledger import Ledgers
from django_cfg.tasks.worker.supervisor import Supervisor

STOP_WITHIN_MS = 5_000


class Command(BaseCommand):
    help = (
        "Enqueue the ticks of all schedules until SIGTERM or Ctrl-C. rundramatiq does it too; this runs it alone. "
        "With an option: look at schedules or change them. Exit codes: 0, 2 (usage), 3 (no answer)."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--list", action="store_true", help="every schedule, its state, last and next run")
        what.add_argument("--next", type=int, metavar="N", help="the next N runs of every schedule, 1-1000")
        what.add_argument("--run", metavar="NAME", help="enqueue its task now")
        what.add_argument("--pause", metavar="NAME", help="enqueue no ticks until --resume")
        what.add_argument("--resume", metavar="NAME", help="end a pause; what was due meanwhile is skipped")
        what.add_argument(
            "--backfill", metavar="NAME", help="enqueue missed and skipped ticks of a time (--from, --to)"
        )
        parser.add_argument("--note", default="", help="why, with --pause")
        parser.add_argument(
            "--from", dest="begin", type=moment, metavar="MOMENT", help="2026-06-01T00:00, in TIME_ZONE"
        )
        parser.add_argument("--to", dest="until", type=moment, metavar="MOMENT", help="now, if left out")
        parser.add_argument("--dry-run", action="store_true", help="with --backfill: only count")
        parser.add_argument("--json", action="store_true", help="one JSON document")
        parser.add_argument("--log-level", choices=LEVELS, help="how much to log while it runs")

    def handle(self, **options: Any) -> None:
        try:
            code, broker = queries.code_schedules(), queries.broker()
            if not _asked(options):
                self._serve(broker, options)
                return
            with reachable(), being_read(self.stdout):
                self.stdout.write(self._answer(broker, code, options))
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=USAGE) from error

    def _serve(self, broker: EngineBroker, options: dict[str, Any]) -> None:
        configure_logging(options["log_level"])
        if not broker.settings.enabled:
            raise ConfigurationError("tasks are switched off by TaskConfig(enabled=False), so no schedule can tick")
        chores = schedule_chores(broker, broker.settings, always=True)
        if reload.is_trial():
            return
        ready = f"dramatiq_cron: schedules tick; supervisor pid {os.getpid()}."
        born, handover, helpers = spawn.birth(), reload.received(), keeper.process(chores)
        if born is not None:
            code = become(born, spawn.named(born.name, helpers))
        else:
            supervisor = Supervisor([], helpers, Ledgers(), STOP_WITHIN_MS, handover=handover)
            code = supervisor.run(partial(self._say, ready))
        if code:
            sys.exit(code)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _answer(self, broker: EngineBroker, code: Mapping[str, Entry], options: dict[str, Any]) -> str:
        alias = store.alias_of(broker)
        if not has_tables(alias):
            raise ConfigurationError(no_tables(alias))
        if options["list"] or options["next"] is not None:
            return _listed(broker, code, options)
        done = _done(options)
        return json.dumps({"schema": 1, **done}) if options["json"] else _sentence(done)


def moment(text: str) -> datetime:
    """An ISO moment; without an offset it is meant in Django's time zone."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else timezone.make_aware(found)


def _asked(options: dict[str, Any]) -> bool:
    named = any(options[name] for name in ("list", "run", "pause", "resume", "backfill"))
    return named or options["next"] is not None


def _listed(broker: EngineBroker, code: Mapping[str, Entry], options: dict[str, Any]) -> str:
    count = options["next"] if options["next"] is not None else 1
    if not 1 <= count <= 1000:
        raise CronError(f"--next must be between 1 and 1000, got {count}")
    found = look.schedules(broker, code, count=count)
    if options["json"]:
        return json.dumps({"schema": 1, "schedules": [asdict(one) for one in found]})
    if options["next"] is not None:
        return _upcoming(found, count)
    return "\n".join(_line(one) for one in found) or "No schedules."


def _upcoming(found: list[ScheduleInfo], count: int) -> str:
    """The next runs of all schedules together, in order."""
    runs = sorted((when, one.name) for one in found for when in one.next)
    return "\n".join(f"{when}  {name}" for when, name in runs[:count]) or "Nothing is due."


def _line(one: ScheduleInfo) -> str:
    facts = [
        one.words,
        one.error,
        f"overridden: {', '.join(one.overridden)}" if one.overridden else "",
        one.paused_note,
    ]
    told = "; ".join(fact for fact in facts if fact)
    return f"{one.name} [{one.state}] {one.task}: {told} · last {one.last or '-'} · next {', '.join(one.next) or '-'}"


def _done(options: dict[str, Any]) -> dict[str, Any]:
    by = local_operator("command")
    if name := options["run"]:
        return {"schedule": name, "message_id": actions.run_schedule(name, by=by)}
    if name := options["pause"]:
        actions.pause_schedule(name, options["note"], by=by)
        return {"schedule": name, "paused": True}
    if name := options["resume"]:
        actions.resume_schedule(name, by=by)
        return {"schedule": name, "paused": False}
    return _backfilled(options["backfill"], options, by)


def _backfilled(name: str, options: dict[str, Any], by: Operator) -> dict[str, Any]:
    if options["begin"] is None:
        raise CronError("--backfill needs --from, like 2026-06-01T00:00")
    until = options["until"] or datetime.now(UTC)
    if until < options["begin"]:
        raise CronError(f"--to {until.isoformat()} is before --from {options['begin'].isoformat()}")
    begin_ms, until_ms = ms_of(options["begin"]), ms_of(until)
    done = actions.backfill_schedule(name, begin_ms, until_ms, dry_run=options["dry_run"], by=by)
    return {"schedule": name, **asdict(done), "dry_run": options["dry_run"]}


def _sentence(done: dict[str, Any]) -> str:
    name = done["schedule"]
    if "message_id" in done:
        return f"Enqueued {name} as message {done['message_id']}."
    if "paused" in done:
        return f"{name} is paused." if done["paused"] else f"{name} ticks again."
    would = "would be enqueued" if done["dry_run"] else "enqueued"
    return f"{done['enqueued']} ticks of {name} {would}; {done['already']} had been before."
