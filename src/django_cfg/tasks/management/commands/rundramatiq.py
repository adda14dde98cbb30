"""`python manage.py rundramatiq`: run the workers."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import dramatiq
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from django_cfg.errors import BrokerError, ConfigurationError
from django_cfg.redact import redact_url
from django_cfg.tasks import compat, conf, queries, upkeep
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.database.broker import DatabaseBroker, has_tables, no_tables
from django_cfg.tasks.brokers.outbox.relay import Relay, aliases
from django_cfg.tasks.log.formats import LINE, JsonFormatter
from django_cfg.tasks.log.patient import be_patient
from django_cfg.tasks.management.console import between
from django_cfg.tasks.management.schedule_chores import schedule_chores
from django_cfg.tasks.worker import child, exposition, keeper, leases, notices, queue_names, reload, spawn
from django_cfg.tasks.worker.discover import discover, preload
from django_cfg.tasks.worker.keeper import Chore
from django_cfg.tasks.worker.ledger import Ledgers
from django_cfg.tasks.worker.pidfile import pidfile
from django_cfg.tasks.worker.recycling import Recycling
from django_cfg.tasks.worker.supervisor import Main, Supervisor, WorkerMain, name_process
from django_cfg.tasks.worker.watch import command_without_watch, watch

logger = logging.getLogger(__name__)
#: Beside a bank for each process and one for its successor: for deaths that are not settled yet.
SPARE_BANKS = 2
LEVELS = ("debug", "info", "warning", "error", "critical")


class Command(BaseCommand):
    help = "Run task workers: a supervisor and its worker processes. Stops gracefully on SIGTERM or Ctrl-C."

    #: As the first line says it.
    name = "rundramatiq"

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--processes", "-p", type=partial(between, 1, 32), help="worker processes, 1-32")
        add("--threads", "-t", type=partial(between, 1, 64), help="threads per process, 1-64")
        add("--queues", "-Q", nargs="+", action="extend", default=[], metavar="QUEUE",
            help="queues to serve: a,b or a b or --queues a --queues b")  # fmt: skip
        add("--log-level", choices=LEVELS, help="how much to log (also: DJANGO_LOG_LEVEL)")
        add("--log-format", choices=("text", "json"), help="json: one object a line on standard error (default text)")
        add("--watch", nargs="?", const=".", metavar="DIR", help="restart when Python files below DIR change")
        add(
            "--probe",
            metavar="HOST:PORT",
            help="answer /livez, /readyz and /metrics here; 8080 alone: this machine only",
        )
        add("--pid-file", help="write the supervisor's process id here")

    def handle(self, **options: Any) -> None:
        try:
            configure_logging(options["log_level"])
            code = self._watch(options) if options["watch"] is not None else self.serve(options)
        except ConfigurationError as error:
            raise CommandError(str(error), returncode=2) from error
        if code:
            sys.exit(code)

    def _watch(self, options: dict[str, Any]) -> int:
        directory = Path(options["watch"])
        if not directory.is_dir():
            raise ConfigurationError(f"--watch {directory}: no such directory")
        self.stdout.write(f"Watching Python files below {directory.resolve()}.")
        return watch(command_without_watch(sys.argv), directory.resolve())

    def serve(self, options: dict[str, Any]) -> int:
        """Serve until told to stop; returns the exit code."""
        crew = self._crew(options)
        if reload.is_trial():
            return 0
        speak(options.get("log_format"))
        born = spawn.birth()
        if born is not None:
            return be(born, crew)
        with pidfile(options["pid_file"]), exposition.process(crew.broker, crew.settings, crew.probe) as probe:
            supervisor = supervise(crew, probe, reload.received())
            be_patient()
            return supervisor.run(partial(self._say, crew.ready(self.name)))

    def _crew(self, options: dict[str, Any]) -> Crew:
        """Load the project and see that it can be served."""
        settings = conf.read()
        discover(settings)
        preload()
        broker = self.broker(options)
        refuse_without_tables(broker)
        broker.refuse_to_start()
        queues = self.queues(options, settings, broker)
        broker.close()
        return Crew(
            broker=broker,
            settings=settings,
            queues=queues,
            processes=options["processes"] or settings.processes,
            threads=options["threads"] or settings.threads,
            probe=options.get("probe"),
        )

    def broker(self, options: dict[str, Any]) -> EngineBroker:
        """Whose messages to run."""
        return cast("EngineBroker", dramatiq.get_broker())

    def queues(self, options: dict[str, Any], settings: conf.TaskSettings, broker: EngineBroker) -> list[str]:
        """Which queues to serve. One that no task names is known if it holds anything: a send has named it."""
        asked, declared = queue_names.split(options["queues"]), list(broker.queues)
        if not {*declared, *(settings.queues or ())}.issuperset(asked):
            declared += holding(broker)
        return queue_names.to_serve(asked, settings.queues, declared)

    def _say(self, text: str) -> None:
        """Past the buffer: on a full disk, what is kept in it would end us, now or at the end."""
        try:
            os.write(self.stdout.fileno(), f"{text}\n".encode())
        except io.UnsupportedOperation:
            self.stdout.write(text)  # a stream in memory
        except OSError:
            logger.warning("%s (Standard output cannot be written.)", text)


@dataclass(frozen=True)
class Crew:
    """What one supervisor runs.

    Attributes:
        probe: `host:port`; None: what the settings say.
    """

    broker: EngineBroker
    settings: conf.TaskSettings
    queues: list[str]
    processes: int
    threads: int
    probe: str | None

    def workers(self, ledgers: Ledgers) -> list[WorkerMain]:
        """The processes that run tasks."""
        main = partial(child.run, self.broker, self.queues, self.threads, ledgers)
        return [(f"worker {number}", main) for number in range(1, self.processes + 1)]

    def helpers(self, ledgers: Ledgers, probe: list[Main]) -> list[Main]:
        """The processes beside them."""
        kept = [*chores(self.broker, ledgers), *upkeep.chores(), *notices.chores(self.broker, self.settings)]
        return [*keeper.process(kept), *probe]

    def ready(self, name: str) -> str:
        """What the command says when they all run."""
        where = redact_url(self.broker.settings.broker_url)
        return (
            f"{name}: {self.processes} processes x {self.threads} threads on {where}, "
            f"queues: {', '.join(self.queues)}; {len(self.broker.actors)} tasks; supervisor pid {os.getpid()}."
        )


def supervise(crew: Crew, probe: list[Main], handover: reload.Handover | None) -> Supervisor:
    """The supervisor of new processes, and of those that an earlier program of this process left."""
    ledgers = Ledgers(handover.files if handover else ())
    ledgers.grow(2 * crew.processes + SPARE_BANKS)
    recycling = Recycling(crew.settings.max_tasks_per_child, crew.settings.max_memory_mb)
    timeout_ms = crew.settings.shutdown_timeout_ms
    return Supervisor(crew.workers(ledgers), crew.helpers(ledgers, probe), ledgers, timeout_ms, recycling, handover)


def be(born: spawn.Birth, crew: Crew) -> int:
    """Be the process of a supervisor that could not be forked."""
    ledgers = Ledgers(born.files, born.guardian)
    if run := spawn.named(born.name, crew.workers(ledgers)):
        return become(born, partial(run, spawn.bank_of(born, ledgers)))
    with exposition.process(crew.broker, crew.settings, crew.probe) as probe:
        return become(born, spawn.named(born.name, crew.helpers(ledgers, probe)))


def become(born: spawn.Birth, main: Callable[[int], None]) -> int:
    """Be a process that could not be forked."""
    name_process(born.name)
    main(born.leash)
    return 0


def chores(broker: EngineBroker, ledgers: Ledgers) -> list[Chore]:
    """What the keeper does beside the workers of a broker. Schedules belong to the project's, whoever ticks."""
    relays = [Chore(f"outbox of {alias}", Relay(broker, alias).turn) for alias in aliases()]
    return [leases.chore(broker, ledgers), *relays, *schedule_chores(queries.broker(), conf.read())]


def holding(broker: EngineBroker) -> list[str]:
    """The queues that the broker has. None where it does not answer yet: that is worth waiting for."""
    try:
        return [stats.queue for stats in broker.queue_stats()]
    except (BrokerError, DatabaseError) as error:
        logger.warning("Queues that no task names are unknown: %s", error)
        return []


def refuse_without_tables(broker: Any) -> None:
    """Workers would only fail, again and again. A database that does not answer yet is worth waiting for."""
    if not isinstance(broker, DatabaseBroker):
        return
    try:
        is_ready = has_tables(broker.alias)
    except DatabaseError:
        return
    if not is_ready:
        raise ConfigurationError(no_tables(broker.alias))


def configure_logging(level: str | None) -> None:
    """The project's LOGGING stands; a level that was asked for wins, and silence is never the default."""
    asked = level or os.environ.get("DJANGO_LOG_LEVEL") or "info"
    if asked.lower() not in LEVELS:
        raise ConfigurationError(f"DJANGO_LOG_LEVEL={asked!r} is no level; write one of: {', '.join(LEVELS)}")
    wanted = asked.upper()
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(level=wanted, format=LINE)
    if level is not None:
        root.setLevel(wanted)
    framework = () if conf.tasks_log_level() is not None else (compat.LOGGER,)
    for name in ("dramatiq", "django_cfg", *framework):
        logging.getLogger(name).setLevel(wanted)


def speak(form: str | None) -> None:
    """Let what the root logger sends to a stream look as asked; handlers of other kinds have readers of their own."""
    for handler in logging.getLogger().handlers if form is not None else ():
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(LINE))
