"""Schedules that the code declares: the two settings, and the decorators beside tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from django.conf import settings as django_settings

from django_cfg.errors import CronError
from django_cfg.tasks import compat
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.cron.entry import Entry, read

Task = TypeVar("Task")
#: What decorators noted, by the module and name of the task: a module that is imported again declares nothing twice.
_noted: dict[tuple[str, str, str], dict[str, Any]] = {}


def cron(expression: str, **options: Any) -> Callable[[Task], Task]:
    """Run a task by a cron expression; stands above `@dramatiq.actor` or `@task`.

    Parameters:
        expression: five fields, or an alias like `@daily`.
        options: the other keys of a schedule: `name`, `timezone`, `args`, `kwargs`, `queue`, `enabled`, `missed`, ...

    Raises:
        CronError: the expression or an option is wrong; at import, where it is written.
    """
    return _noting({"cron": expression, **options}, "@cron")


def interval(every_s: float, **options: Any) -> Callable[[Task], Task]:
    """Run a task every so many seconds; stands above `@dramatiq.actor` or `@task`.

    Parameters:
        every_s: seconds, at least 1; counted from 1970 or from `start`, so that a restart shifts nothing.
        options: as for `cron`.

    Raises:
        CronError: an option is wrong; at import, where it is written.
    """
    return _noting({"every_s": every_s, **options}, "@interval")


def _noting(given: dict[str, Any], decorator: str) -> Callable[[Task], Task]:
    def note(task: Task) -> Task:
        name = getattr(task, "actor_name", None) or getattr(task, "module_path", None)
        if not isinstance(name, str):
            raise CronError(f"{decorator} stands above the decorator that makes the task, got {task!r}")
        written = {"actor_name": name, **given}
        entry = read(written, f"{decorator} above {name}")
        function = getattr(task, "fn", None) or getattr(task, "func", task)
        _noted[getattr(function, "__module__", ""), name, entry.name] = written
        return task

    return note


def declared(settings: TaskSettings) -> dict[str, Entry]:
    """Every schedule of the code by its name, and all tasks known that they may run. Their modules are imported.

    Raises:
        CronError: a wrong entry, or two of one name.
    """
    make_tasks_known()
    return entries(settings)


def entries(settings: TaskSettings) -> dict[str, Entry]:
    """Every schedule of the code by its name, whether its task is known or not.

    Raises:
        CronError: a wrong entry, or two of one name.
    """
    found: dict[str, Entry] = {}
    for where, given in _written(settings):
        entry = read(given, where, django_settings.TIME_ZONE)
        if entry.name in found:
            raise CronError(f"{where}: two schedules are named {entry.name!r}; give one of them a name of its own")
        found[entry.name] = entry
    return found


def make_tasks_known() -> None:
    """Django's own tasks become known to their broker when somebody asks their backend for it."""
    if compat.is_installed():
        for alias in compat.task_backends:
            getattr(compat.task_backends[alias], "broker", None)


def _written(settings: TaskSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, given in (("TaskConfig.schedules", settings.schedules), ("DRAMATIQ_CRON_JOBS", settings.cron_jobs)):
        for position, one in enumerate(given):
            if not isinstance(one, Mapping):
                raise CronError(f"{name}[{position}] must be a dictionary with actor_name and cron")
            yield f"{name}[{position}]", one
    for (_, task, _), one in _noted.items():
        yield f"the decorator above {task}", one
