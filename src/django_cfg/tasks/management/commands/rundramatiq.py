"""`python manage.py rundramatiq`: run the workers."""

from __future__ import annotations

import logging
import os
import sys
from argparse import ArgumentTypeError
from functools import partial
from pathlib import Path
from typing import Any

import dramatiq
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from django_cfg.errors import ConfigurationError
from django_cfg.redact import redact_url
from django_cfg.tasks import conf
from django_cfg.tasks.brokers.database.broker import DatabaseBroker, has_tables, no_tables
from django_cfg.tasks.worker import child, exposition, queue_names
from django_cfg.tasks.worker.discover import discover
from django_cfg.tasks.worker.pidfile import pidfile
from django_cfg.tasks.worker.supervisor import Main, Supervisor
from django_cfg.tasks.worker.watch import command_without_watch, watch

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMAT = "[%(asctime)s] [%(process)d] [%(threadName)s] [%(name)s] %(levelname)s %(message)s"


def between(low: int, high: int, text: str) -> int:
    """An argument that is a whole number in a range."""
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if not low <= number <= high:
        raise ArgumentTypeError(f"must be between {low} and {high}, got {number}")
    return number


class Command(BaseCommand):
    help = "Run task workers: a supervisor and its worker processes. Stops gracefully on SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--processes", "-p", type=partial(between, 1, 32), help="worker processes, 1-32")
        add("--threads", "-t", type=partial(between, 1, 64), help="threads per process, 1-64")
        add("--queues", "-Q", nargs="+", action="extend", default=[], metavar="QUEUE",
            help="queues to serve: a,b or a b or --queues a --queues b")  # fmt: skip
        add("--log-level", choices=LEVELS, help="how much to log (also: DJANGO_LOG_LEVEL)")
        add("--watch", nargs="?", const=".", metavar="DIR", help="restart when Python files below DIR change")
        add("--pid-file", help="write the supervisor's process id here")

    def handle(self, **options: Any) -> None:
        try:
            configure_logging(options["log_level"])
            code = self._watch(options) if options["watch"] is not None else self._serve(options)
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

    def _serve(self, options: dict[str, Any]) -> int:
        settings = conf.read()
        discover(settings)
        broker: Any = dramatiq.get_broker()
        refuse_without_tables(broker)
        asked = queue_names.split(options["queues"])
        queues = queue_names.to_serve(asked, settings.queues, broker.queues)
        processes = options["processes"] or settings.processes
        threads = options["threads"] or settings.threads
        main = partial(child.run, broker, queues, threads)
        mains: list[Main] = [(f"worker {number}", main) for number in range(1, processes + 1)]
        ready = (
            f"rundramatiq: {processes} processes x {threads} threads on {redact_url(settings.broker_url)}, "
            f"queues: {', '.join(queues)}; {len(broker.actors)} tasks; supervisor pid {os.getpid()}."
        )
        with pidfile(options["pid_file"]), exposition.process(settings.prometheus_enabled) as metrics:
            return Supervisor([*mains, *metrics], settings.shutdown_timeout_ms).run(partial(self._say, ready))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


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
        logging.basicConfig(level=wanted, format=FORMAT)
    if level is not None:
        root.setLevel(wanted)
    for name in ("dramatiq", "django_cfg"):
        logging.getLogger(name).setLevel(wanted)
