"""Starting all processes; a module of its own, so that a process that starts alone imports no manager."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_prodserver import launch
from django_prodserver.conf import Process
from django_prodserver.manager import Manager
from django_prodserver.plan import Plan, plan
from django_prodserver.policy import Restarts
from django_prodserver.slot import Slot

#: Above a process's own stop timeout, in seconds, before the manager kills it.
MARGIN_S = 5.0


def start_all(processes: Sequence[Process], words: Sequence[str], say: Callable[[str], None]) -> int:
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
