"""States of a task and the only legal ways between them. Pure; the picture is in docs/architecture.md."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """How one claim ended."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"
    RELEASED = "released"  # given back unstarted or interrupted; no retry is used up


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.DEAD_LETTER}),
    State.SCHEDULED: frozenset({State.PENDING, State.CANCELLED, State.DEAD_LETTER}),
    State.RUNNING: frozenset({State.COMPLETED, State.RETRYING, State.DEAD_LETTER, State.PENDING}),
    State.RETRYING: frozenset({State.PENDING, State.CANCELLED, State.DEAD_LETTER}),
    State.DEAD_LETTER: frozenset({State.PENDING}),
    State.COMPLETED: frozenset(),
    State.CANCELLED: frozenset(),
}

AFTER: dict[Kind, State] = {
    Kind.DONE: State.COMPLETED,
    Kind.RETRY: State.RETRYING,
    Kind.DEAD: State.DEAD_LETTER,
    Kind.RELEASED: State.PENDING,
}

#: Why a running task gives its claim back when an operator asked it to stop and it did: pending, and cancelled at once.
CANCELLED = "cancelled"

FINAL = frozenset({State.COMPLETED, State.DEAD_LETTER, State.CANCELLED})


def may_follow(before: State, after: State) -> bool:
    """Whether a task may go from one state straight to the other."""
    return after in TRANSITIONS[before]
