"""Processes that start anew instead of being forked: for projects whose imports start threads.

A fork copies one thread only; locks that others held stay locked for ever in the copy. So such a project's
processes run the command line of the supervisor again, and one environment variable says which of them they are.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django_cfg.tasks.brokers.contract import ProcessIdentity
from django_cfg.tasks.worker.ledger import Bank, Ledgers
from django_cfg.tasks.worker.reload import own_command

BORN_AS = "RUNDRAMATIQ_BORN_AS"


@dataclass(frozen=True)
class Birth:
    """What a started process must know.

    Attributes:
        leash: the read end of the pipe that the supervisor holds.
        files, bank: descriptors of the ledger, and where in it its own bank lies; None: it runs no tasks.
        guardian: the supervisor.
    """

    name: str
    leash: int
    files: tuple[int, ...]
    bank: tuple[int, int] | None
    guardian: ProcessIdentity


def extra_threads() -> list[str]:
    """Names of the threads that run beside the main one."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def spawn(name: str, leash: int, ledgers: Ledgers, bank: Bank | None) -> int:
    """Start a process; returns its id."""
    where = (bank.file, bank.index) if bank is not None else None
    birth = Birth(name, leash, tuple(ledgers.files), where, ledgers.guardian)
    descriptors = (leash, *ledgers.files)
    command = own_command()
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(command[0], command, {**os.environ, BORN_AS: json.dumps(asdict(birth))})
    finally:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)


def birth() -> Birth | None:
    """Which process of a supervisor this is; None: it is no such process."""
    text = os.environ.pop(BORN_AS, None)
    if text is None:
        return None
    found: dict[str, Any] = json.loads(text)
    return Birth(
        name=found["name"],
        leash=found["leash"],
        files=tuple(found["files"]),
        bank=None if found["bank"] is None else tuple(found["bank"]),
        guardian=ProcessIdentity(**found["guardian"]),
    )


def bank_of(born: Birth, ledgers: Ledgers) -> Bank:
    """The bank of a process that runs tasks."""
    bank = ledgers.find(*born.bank) if born.bank is not None else None
    if bank is None:
        raise LookupError(f"{born.name} has no bank in the ledger")
    return bank


def named(name: str, mains: Sequence[tuple[str, Any]]) -> Any:
    """What a process of this name runs; None if there is none."""
    return dict(mains).get(name)
