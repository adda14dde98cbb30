"""What stands under OPTIONS of a backend in TASKS."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from django_cfg.tasks.compat import InvalidTaskBackend


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """The OPTIONS of one backend.

    Attributes:
        broker_url: where its tasks wait; None: the project's broker.
        enqueue_on_commit: inside a transaction that the broker is no part of, enqueue after its commit.
        max_attempts: runs of a task that names no number itself; 1: no retry, as Django says.
    """

    broker_url: str | None = None
    enqueue_on_commit: bool = False
    max_attempts: int = 1


KINDS: Mapping[str, tuple[type, str]] = {
    "broker_url": (str, "a URL"),
    "enqueue_on_commit": (bool, "True or False"),
    "max_attempts": (int, "a whole number from 1 on"),
}


def read(alias: str, given: Mapping[str, Any]) -> BackendOptions:
    """The options of `TASKS[alias]`.

    Raises:
        InvalidTaskBackend: an unknown name (with the nearest known one) or a wrong value.
    """
    known = [field.name for field in fields(BackendOptions)]
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise InvalidTaskBackend(f"TASKS[{alias!r}]['OPTIONS'] has an unknown key {name!r}; {hint}")
        _check(alias, name, value)
    return BackendOptions(**given)


def _check(alias: str, name: str, value: Any) -> None:
    kind, wanted = KINDS[name]
    is_right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if not is_right or (name == "max_attempts" and value < 1):
        shown = type(value).__name__ if name == "broker_url" else repr(value)
        raise InvalidTaskBackend(f"TASKS[{alias!r}]['OPTIONS'][{name!r}] must be {wanted}, got {shown}")
