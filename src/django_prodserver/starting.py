"""Starting one process; what the command does once it has parsed its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.core.checks import ERROR, CheckMessage
from django.core.checks.registry import registry

from django_prodserver import launch
from django_prodserver.backends.base import CommandBackend
from django_prodserver.checks import problems
from django_prodserver.errors import ProdserverError
from django_prodserver.plan import Plan

FAILED_CHECKS = 1
#: Checks of what makemigrations and migrate are: Django imports both commands for them, and no server runs either.
UNNEEDED = "commands"

Say = Callable[[str], None]


def check(planned: Plan, say: Say) -> None:
    """Django's system checks, then those of production; warnings are said.

    Raises:
        ProdserverError: something speaks against the start (code 1).
    """
    # A worker that is a command of the project runs Django's checks itself.
    djangos = [] if isinstance(planned.backend, CommandBackend) else system_checks()
    found = [message for message in (*djangos, *problems(planned)) if not message.is_silenced()]
    errors = [message for message in found if message.level >= ERROR]
    for message in found:
        if message.level < ERROR:
            say(f"{planned.name}: {message}")
    if errors:
        lines = "\n".join(f"{planned.name}: {message}" for message in errors)
        raise ProdserverError(f"{lines}\n--skip-checks starts it all the same.", code=FAILED_CHECKS)


def system_checks() -> Iterator[CheckMessage]:
    """What `manage.py check` finds, without what no server needs."""
    for function in registry.get_checks():
        if UNNEEDED not in function.tags:
            yield from function(app_configs=None, databases=None)


def start(planned: Plan, *, fresh: bool) -> None:
    """Become the process.

    Args:
        fresh: replace this process's image, so that the server loads the code itself.
    """
    if fresh:
        launch.execute(planned.backend.command(planned.argv))
    planned.backend.start_server(*planned.argv)
