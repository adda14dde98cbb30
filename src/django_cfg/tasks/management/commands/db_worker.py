"""`python manage.py db_worker`: the workers under the name and with the options of django-tasks-db."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, BooleanOptionalAction
from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from django.utils.module_loading import import_string

from django_cfg.errors import ConfigurationError
from django_cfg.tasks import compat, conf
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.management.commands import rundramatiq
from django_cfg.tasks.management.console import between, reachable
from django_cfg.tasks.worker import foreground, queue_names
from django_cfg.tasks.worker.discover import discover

ALL = "*"
LEVELS = ("critical", "info", "debug", "debug")


class Command(rundramatiq.Command):
    help = "Run workers for Django tasks: as rundramatiq, under the name and the options of django-tasks-db."

    name = "db_worker"

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--processes", "-p", type=partial(between, 1, 32), default=1, help="worker processes, 1-32 (1)")
        add("--threads", "-t", type=partial(between, 1, 64), default=1, help="threads per process, 1-64 (1)")
        add("--queue", "--queue-name", "--queues", "-Q", nargs="+", action="extend", default=[], dest="queues",
            metavar="QUEUE", help="queues to serve: a,b or several; '*' or nothing: every queue")  # fmt: skip
        add("--exclude-queues", default="", metavar="QUEUES", help="with --queue-name='*': not these; a,b")
        add("--backend", default="default", metavar="ALIAS", help="whose tasks: an alias of TASKS (default)")
        add("--batch", action="store_true", help="run what is ready and end")
        add("--max-tasks", type=_whole, metavar="N", help="end after so many runs")
        add("--worker-id", type=_worker_id, metavar="ID", help="how results name this worker (host:pid)")
        add("--reload", action=BooleanOptionalAction, default=False, help="restart when Python files change")
        add("--interval", type=_seconds, help="for compatibility: workers are woken, they do not poll")
        add("--no-startup-delay", action="store_true", help="for compatibility: there is no delay at the start")
        add("--log-level", choices=rundramatiq.LEVELS, help="how much to log (also: --verbosity)")
        add("--pid-file", help="write the supervisor's process id here")

    def handle(self, **options: Any) -> None:
        if options["interval"] is not None:
            self.stderr.write("--interval is not needed: workers are woken when a task comes.")
        if options["verbosity"] != 1 and options["log_level"] is None:
            options["log_level"] = LEVELS[options["verbosity"]]
        super().handle(**options, watch="." if options["reload"] and not options["batch"] else None)

    def serve(self, options: dict[str, Any]) -> int:
        if options["worker_id"]:
            self._name_workers(options["worker_id"], several=options["processes"] > 1)
        if not options["batch"] and options["max_tasks"] is None:
            return super().serve(options)
        if options["processes"] > 1:
            raise ConfigurationError("--batch and --max-tasks run in one process; use --threads for more at a time")
        return self._serve_here(options)

    def _serve_here(self, options: dict[str, Any]) -> int:
        settings = conf.read()
        discover(settings)
        broker = self.broker(options)
        rundramatiq.refuse_without_tables(broker)
        if options["batch"]:
            with reachable():
                broker.ping()
        queues = self.queues(options, settings, broker)
        limits: dict[str, Any] = {"most_runs": options["max_tasks"], "is_batch": options["batch"]}
        ran = foreground.run(broker, queues, options["threads"], **limits)
        self.stdout.write(f"db_worker: {ran} runs.")
        return 0

    def _name_workers(self, name: str, *, several: bool) -> None:
        # By name: it needs the framework, which is checked with --backend.
        use_worker_id: Any = import_string("django_cfg.tasks.backends.run.use_worker_id")
        use_worker_id(name, several=several)

    def broker(self, options: dict[str, Any]) -> EngineBroker:
        alias = options["backend"]
        try:
            backend = compat.task_backends[alias]
        except compat.InvalidTaskBackend as error:
            raise ConfigurationError(f"--backend {alias}: {error}") from error
        broker: EngineBroker | None = getattr(backend, "broker", None)
        if broker is None:
            raise ConfigurationError(f"--backend {alias}: {type(backend).__qualname__} needs no worker of ours")
        return broker

    def queues(self, options: dict[str, Any], settings: conf.TaskSettings, broker: EngineBroker) -> list[str]:
        asked, excluded = queue_names.split(options["queues"]), options["exclude_queues"]
        if excluded and asked != [ALL]:
            raise ConfigurationError("--exclude-queues can only be used with --queue-name=*")
        known = [*broker.queues, *rundramatiq.holding(broker)]
        if asked != [ALL]:
            return queue_names.to_serve(asked, settings.queues, known)
        everything = queue_names.to_serve([], None, [*known, *(settings.queues or ())])
        without = queue_names.split([excluded]) if excluded else []
        left = [name for name in everything if name not in without]
        if not left:
            raise ConfigurationError(
                f"--exclude-queues {excluded} leaves no queue to serve; known: {', '.join(everything)}"
            )
        return left


def _whole(text: str) -> int:
    return between(1, 1_000_000_000, text)


def _worker_id(text: str) -> str:
    if not 0 < len(text) <= 64:
        raise ArgumentTypeError("a worker id has 1 to 64 characters")
    return text


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"expected seconds, got {text!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ArgumentTypeError(f"expected seconds from 0 on, got {text!r}")
    return number
