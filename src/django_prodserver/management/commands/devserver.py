"""`python manage.py devserver`: the project's `runserver` under the name that goes with `prodserver`."""

from __future__ import annotations

from typing import Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Starts the development server, with every option of runserver."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return _runserver().create_parser(prog_name, subcommand, **kwargs)

    def execute(self, *args: Any, **options: Any) -> str | None:
        return _runserver().execute(*args, **options)


def _runserver() -> BaseCommand:
    app = get_commands()["runserver"]
    return load_command_class(app, "runserver") if isinstance(app, str) else app
