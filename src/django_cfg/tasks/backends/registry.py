"""Which tasks this project declares, by the path of their function.

Names resolve here and nowhere else: no path that stands in a message is ever imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django_cfg.tasks import compat

if TYPE_CHECKING:
    from django_cfg.tasks.compat import AnyTask

_tasks: dict[str, AnyTask] = {}
_version = 0


def note(task: AnyTask) -> None:
    """Remember a task as it was declared; later uses with other values change nothing."""
    global _version
    path = task.module_path
    known = _tasks.get(path)
    if known is None or known.func is not task.func:
        _tasks[path] = task
        _version += 1


def forget(path: str) -> None:
    """A task that is no longer declared; for tests."""
    global _version
    if _tasks.pop(path, None) is not None:
        _version += 1


def known(path: str) -> AnyTask | None:
    """The task whose function has this path."""
    return _tasks.get(path)


def tasks() -> list[AnyTask]:
    """Every task, in the order of declaration."""
    return list(_tasks.values())


def version() -> int:
    """Grows with every declaration."""
    return _version


def collect(modules: Iterable[str]) -> None:
    """Remember the tasks of imported modules: those of another backend may be sent to ours with `using()`."""
    if not compat.is_installed():
        return
    for name in modules:
        for value in vars(sys.modules[name]).copy().values():
            if isinstance(value, compat.Task):
                note(value)
