"""Who did what: exactly one row for each act of an operator, also for one that failed."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.models import OperatorAction
from django_cfg.tasks.privacy import scrubbed

logger = logging.getLogger(__name__)
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who acts on tasks.

    Attributes:
        source: "python", "command" or "admin".
    """

    name: str
    source: str = "python"


def local_operator(source: str = "python") -> Operator:
    """The account that runs this process."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        account = "unknown"
    return Operator(f"{account}@{socket.gethostname()}", source)


@dataclass
class Act:
    """An act while it goes on; what is noted here goes into its row."""

    affected: int = 0
    detail: list[str] = field(default_factory=list)


@contextmanager
def audited(action: str, target: Any, by: Operator | None) -> Iterator[Act]:
    """Note an act, whatever becomes of it.

    Parameters:
        target: what it was meant for, in words.
        by: who; None: the account that runs this process.
    """
    act = Act()
    try:
        yield act
    except BaseException as error:
        act.detail.append(f"{type(error).__name__}: {error}")
        _note(action, str(target), by or local_operator(), act, "failed")
        raise
    _note(action, str(target), by or local_operator(), act, "done")


def _note(action: str, target: str, by: Operator, act: Act, outcome: str) -> None:
    row = OperatorAction(
        at=timezone.now(),
        actor=by.name[:200],
        source=by.source[:20],
        action=action,
        target=scrubbed(target)[:LONGEST],
        affected=act.affected,
        outcome=outcome,
        detail=scrubbed("; ".join(act.detail))[:LONGEST],
    )
    try:
        row.save(using=records_alias())
    except (DatabaseError, InterfaceError):
        # The act itself is done or has its own error: raising here would tell the operator the wrong thing.
        facts = (row.actor, row.action, row.target, row.affected, row.outcome)
        logger.exception("The audit row could not be written: %s did %s on %s (%d, %s).", *facts)
