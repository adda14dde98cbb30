"""`python manage.py prodserver`: start, list or write down the processes of production."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_prodserver import starting
from django_prodserver.conf import Process, read
from django_prodserver.emit import FORMATS, emit
from django_prodserver.errors import ProdserverError
from django_prodserver.orphan import end_with_parent
from django_prodserver.plan import choose, plan
from django_prodserver.wait import TARGETS, wait_for


def seconds(text: str) -> float:
    """A time of 0 or more."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a number of seconds, got {text!r}") from None
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


class Command(BaseCommand):
    help = "Starts a process of PRODUCTION_PROCESSES. What follows -- goes to the server in place of its ARGS."
    requires_system_checks = []  # `starting.check` runs them, once it is known what will start
    stealth_options = ("overrides",)
    _overrides: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("server_name", nargs="?", metavar="NAME", help="the process to start")
        add("--list", action="store_true", help="show the configured processes")
        add("--json", action="store_true", help="the same as one JSON document")
        add("--all", action="store_true", help="start every process and keep them running")
        add("--dry-run", action="store_true", help="show the command line and start nothing")
        add("--exec", action="store_true", dest="fresh", help="start the server as a fresh program")
        add("--skip-checks", action="store_true", help="start without the checks for production")
        add("--wait-for", metavar="TARGETS", default="", help=f"wait for {TARGETS}; several with commas")
        add("--wait-timeout", type=seconds, default=60.0, metavar="SECONDS", help="how long (60)")
        add("--emit", choices=FORMATS, help="write deployment files for NAME, or for all processes")
        add("--output", type=Path, metavar="DIR", help="with --emit: a directory; else to the terminal")
        add("--user", default="", help="with --emit: who runs the processes (the owner of the project)")
        add("--image", default="", help="with --emit: the container image (the project's directory:latest)")

    def run_from_argv(self, argv: list[str]) -> None:
        # Everything after -- is the server's, whatever it looks like to our own parser.
        if "--" in argv:
            end = argv.index("--")
            argv, self._overrides = argv[:end], tuple(argv[end + 1 :])
        super().run_from_argv(argv)

    def handle(self, **options: Any) -> None:
        options["overrides"] = list(options.get("overrides") or self._overrides)
        try:
            end_with_parent()
            code = self._act(options)
        except ProdserverError as error:
            raise CommandError(str(error), returncode=error.code) from error
        if code:
            sys.exit(code)

    def _act(self, options: dict[str, Any]) -> int:
        processes, name = read(), options["server_name"]
        chosen = [choose(processes, name)] if name else list(processes.values())
        if options["list"] or options["json"]:
            from django_prodserver import listing  # here and below: a process that starts needs none of it

            self.stdout.write(listing.as_json(chosen) if options["json"] else listing.as_table(chosen))
        elif options["emit"]:
            self._emit(chosen, options)
        elif options["all"]:
            return self._all(list(processes.values()), options)
        elif not name:
            raise ProdserverError(f"which process? prodserver NAME, with one of: {', '.join(processes)}; or --all")
        else:
            self._start(chosen[0], options)
        return 0

    def _emit(self, chosen: list[Process], options: dict[str, Any]) -> None:
        from django_prodserver.emit.site import Site, default_user
        from django_prodserver.launch import project_directory

        directory = project_directory()
        site = Site.of(directory, user=options["user"] or default_user(directory), image=options["image"])
        for file, text in emit(options["emit"], [plan(process) for process in chosen], site).items():
            if options["output"] is None:
                self.stdout.write(text if options["emit"] != "systemd" else f"# {file}\n{text}")
                continue
            options["output"].mkdir(parents=True, exist_ok=True)
            (options["output"] / file).write_text(text)
            self._say(f"wrote {options['output'] / file}")

    def _all(self, processes: list[Process], options: dict[str, Any]) -> int:
        from django_prodserver import together

        if options["server_name"] or options["overrides"]:
            raise ProdserverError("--all takes no NAME and no options after --")
        self._wait(options)
        if not options["skip_checks"]:
            for process in processes:
                starting.check(plan(process), self._say)
        words = ["--exec"] if options["fresh"] else []
        return together.start_all(processes, words, self._print)

    def _start(self, process: Process, options: dict[str, Any]) -> None:
        planned = plan(process, options["overrides"])
        if options["dry_run"]:
            self.stdout.write(shlex.join(planned.backend.command(planned.argv)))
            return
        self._wait(options)
        if not options["skip_checks"]:
            starting.check(planned, self._say)
        self._say(f"Starting {process.name} with {type(planned.backend).__name__}, pid {os.getpid()}.")
        starting.start(planned, fresh=options["fresh"])

    def _wait(self, options: dict[str, Any]) -> None:
        targets = [target.strip() for target in options["wait_for"].split(",") if target.strip()]
        wait_for(targets, options["wait_timeout"], self._say)

    def _say(self, text: str) -> None:
        self.stderr.write(text, lambda plain: plain)

    def _print(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
