"""New code under the same process id: the supervisor starts itself anew and keeps its processes.

`exec` replaces the program of a process and nothing else: children stay children, the ledger and the leash stay
open. What the new program must know of them travels in one environment variable.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import IO, Any

from django_cfg.tasks.worker.ledger import LAYOUT

HANDED_OVER = "RUNDRAMATIQ_HANDED_OVER"
TRIAL = "RUNDRAMATIQ_TRIAL"
#: How long loading the project may take before a reload is given up, in seconds.
TRIAL_S = 120.0
MOST_SHOWN = 2000


@dataclass(frozen=True)
class Adopted:
    """A living process of an earlier program.

    Attributes:
        bank: descriptor and number of its memory; None: nothing that the new program can read.
    """

    name: str
    pid: int
    bank: tuple[int, int] | None
    is_draining: bool


@dataclass(frozen=True)
class Handover:
    """What one program of the supervisor leaves to the next."""

    leash: tuple[int, int]
    files: tuple[int, ...]
    children: tuple[Adopted, ...]


def hand_over(handover: Handover, held: Iterable[signal.Signals]) -> None:
    """Become the new program; does not return.

    Parameters:
        held: signals that must wait until the new program has its handlers.
    """
    for descriptor in (*handover.leash, *handover.files):
        os.set_inheritable(descriptor, True)
    text = json.dumps({"pid": os.getpid(), "layout": LAYOUT, **asdict(handover)})
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, own_command(), {**os.environ, HANDED_OVER: text})


def received() -> Handover | None:
    """What an earlier program of this very process left; None: this is the first one."""
    found: dict[str, Any] = json.loads(os.environ.pop(HANDED_OVER, "{}"))
    if found.get("pid") != os.getpid():
        return None
    for descriptor in (*found["leash"], *found["files"]):
        os.set_inheritable(descriptor, False)
    is_readable = found["layout"] == LAYOUT
    return Handover(
        leash=tuple(found["leash"]),
        files=tuple(found["files"]) if is_readable else (),
        children=tuple(_adopted(child, is_readable) for child in found["children"]),
    )


def _adopted(child: dict[str, Any], is_readable: bool) -> Adopted:
    bank = child["bank"] if is_readable else None
    return Adopted(child["name"], child["pid"], None if bank is None else tuple(bank), child["is_draining"])


def own_command() -> list[str]:
    """The command line of this process, as it can be started again."""
    return [sys.executable, *sys.orig_argv[1:]]


class Trial:
    """The new code is loaded in a process of its own first: if it does not load, the old goes on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the trial
        self._process = subprocess.Popen(
            own_command(),
            env={**os.environ, TRIAL: "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() - self._began > TRIAL_S

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def said(self) -> str:
        """The end of what it printed."""
        self._said.seek(0)
        return self._said.read()[-MOST_SHOWN:].strip()


def is_trial() -> bool:
    """Whether this process only tries whether the project loads."""
    return TRIAL in os.environ
