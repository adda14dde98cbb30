"""The keeper: one small process of `rundramatiq` for the chores that belong to no single task.

Each chore has a thread of its own, so a slow one holds up no other, and an error costs one turn.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from django.db import close_old_connections, connections
from dramatiq.logging import get_logger

from django_cfg.tasks.middleware.connections import keep_no_queries
from django_cfg.tasks.worker.child import DRAINED, SHOWN, TERM, die_with_parent, stop_pipe
from django_cfg.tasks.worker.signalling import signalling
from django_cfg.tasks.worker.stacks import stacks
from django_cfg.tasks.worker.supervisor import Main

logger = get_logger(__name__)
#: A chore that rests for so long keeps no connection meanwhile, in seconds.
LONG_PAUSE_S = 5.0
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0
LAST_TURN_S = 5.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Chore:
    """Something to do again and again.

    Attributes:
        name: for the log and the thread.
        turn: does what is due now and returns after how many seconds it wants the next turn.
        finish: called after the last turn, in the thread of the chore.
        may_end: whether a keeper that was told to stop may do so yet; turns go on until it may.
    """

    name: str
    turn: Callable[[], float]
    finish: Callable[[], None] = lambda: None
    may_end: Callable[[], bool] = lambda: True


def process(chores: Sequence[Chore]) -> list[Main]:
    """The process to run beside the workers; none if there is nothing to do."""
    return [("keeper", partial(run, chores))] if chores else []


def run(chores: Sequence[Chore], leash: int) -> None:
    """Do the chores until SIGTERM or until the supervisor is gone.

    Parameters:
        leash: the read end of a pipe that the supervisor holds; its end means that the supervisor is gone.
    """
    die_with_parent()
    wake = stop_pipe()
    stopping = threading.Event()
    with signalling():  # what dies in a sweep was run by a process that can tell nobody
        threads = [_start(chore, stopping) for chore in chores]
        wait_for_the_end(chores, wake, leash)
        stopping.set()
        for thread in threads:
            thread.join(LAST_TURN_S)


def wait_for_the_end(chores: Sequence[Chore], wake: int, leash: int) -> None:
    """Until the supervisor is gone, a drain (another keeper comes), or a SIGTERM when every chore may end."""
    is_told = False
    while not (is_told and all(chore.may_end() for chore in chores)):
        readable, _, _ = select.select([wake, leash], [], [], LOOK_S if is_told else None)
        words = os.read(wake, 64) if wake in readable else b""
        if SHOWN in words:
            logger.info("Stacks of this process:\n%s", stacks({}))
        if leash in readable or DRAINED in words:
            return
        is_told = is_told or TERM in words


def _start(chore: Chore, stopping: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=keep, args=(chore, stopping), name=chore.name, daemon=True)
    thread.start()
    return thread


def keep(chore: Chore, stopping: threading.Event) -> None:
    """Take turns until told to stop; after an error wait longer each time."""
    keep_no_queries()
    backoff_s = FIRST_BACKOFF_S
    while not stopping.is_set():
        close_old_connections()
        try:
            pause_s = chore.turn()
            backoff_s = FIRST_BACKOFF_S
        except Exception:
            logger.exception("%s failed; trying again in %.1f s.", chore.name, backoff_s)
            pause_s, backoff_s = backoff_s, min(backoff_s * 2, LONGEST_BACKOFF_S)
            connections.close_all()  # one that answers and refuses, as after a failover, would do so for ever
        if pause_s >= LONG_PAUSE_S:
            connections.close_all()
        stopping.wait(pause_s)
    chore.finish()
    connections.close_all()
