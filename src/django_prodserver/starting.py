"""Starting one process, or all of them; what the command does once it has parsed its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.core.checks import ERROR, run_checks

from django_prodserver import launch
from django_prodserver.backends.base import CommandBackend
from django_prodserver.checks import problems
from django_prodserver.conf import Process
from django_prodserver.errors import ProdserverError
from django_prodserver.manager import Manager
from django_prodserver.plan import Plan, plan
from django_prodserver.policy import Restarts
from django_prodserver.slot import Slot

FAILED_CHECKS = 1
#: Above a process's own stop timeout, in seconds, before the manager kills it.
MARGIN_S = 5.0

Say = Callable[[str], None]


def check(planned: Plan, say: Say) -> None:
    """Django's system checks, then those of production; warnings are said.

    Raises:
        ProdserverError: something speaks against the start (code 1).
    """
    # A worker that is a command of the project runs Django's checks itself.
    djangos = [] if isinstance(planned.backend, CommandBackend) else run_checks()
    found = [message for message in (*djangos, *problems(planned)) if not message.is_silenced()]
    errors = [message for message in found if message.level >= ERROR]
    for message in found:
        if message.level < ERROR:
            say(f"{planned.name}: {message}")
    if errors:
        lines = "\n".join(f"{planned.name}: {message}" for message in errors)
        raise ProdserverError(f"{lines}\n--skip-checks starts it all the same.", code=FAILED_CHECKS)


def start(planned: Plan, *, fresh: bool) -> None:
    """Become the process.

    Args:
        fresh: replace this process's image, so that the server loads the code itself.
    """
    if fresh:
        launch.execute(planned.backend.command(planned.argv))
    planned.backend.start_server(*planned.argv)


def start_all(processes: Sequence[Process], words: Sequence[str], say: Say) -> int:
    """Run all of them under the process manager; returns its exit code.

    Args:
        words: what is added to the command line of each.
    """
    return Manager([_slot(plan(process), words) for process in processes], say).run()


def _slot(planned: Plan, words: Sequence[str]) -> Slot:
    return Slot(
        name=planned.name,
        command=[*launch.manage_command(), "prodserver", planned.name, "--skip-checks", *words],
        restarts=Restarts(planned.process.restart),
        stop_s=planned.facts.stop_s + MARGIN_S,
        address=next(iter(planned.facts.addresses), None),
    )
