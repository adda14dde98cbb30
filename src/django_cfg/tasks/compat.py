"""Django's Tasks framework under one name: `django.tasks` from Django 6.0 on, the package `django-tasks` on 5.2.

The only module that imports it. A project without Django tasks needs neither: `is_installed()` says so, and
only `django_cfg.tasks.backends` asks for more.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import django

#: Whether the framework is Django's own.
HAS_CORE = django.VERSION >= (6, 0)
#: The logger and the module of the framework.
MODULE = LOGGER = "django.tasks" if HAS_CORE else "django_tasks"


def is_installed() -> bool:
    """Whether there are Django tasks at all in this environment."""
    return HAS_CORE or find_spec("django_tasks") is not None


def switch_on() -> None:
    """Register the framework's checks and its own signal receivers; for `AppConfig.ready`."""
    if HAS_CORE:
        pass
    elif is_installed():
        from django_tasks import checks, signals  # noqa: F401


if TYPE_CHECKING:
    from django.tasks import TaskContext, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError, TaskResult
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started

    AnyTask = Task[..., Any]
    AnyResult = TaskResult[..., Any]

    def normalize_json(obj: Any) -> Any:
        """Mappings, sequences, text and numbers as plain JSON values."""

elif HAS_CORE:
    from django.tasks import TaskContext, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError, TaskResult
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json

    AnyTask, AnyResult = Task, TaskResult
elif is_installed():
    from django_tasks import TaskContext, TaskResultStatus, task_backends
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskError, TaskResult
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
    from django_tasks.utils import normalize_json

    AnyTask, AnyResult = Task, TaskResult
    try:
        from django_tasks.exceptions import InvalidTask, InvalidTaskBackend
    except ImportError:  # the names until 0.12
        from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
        from django_tasks.exceptions import InvalidTaskError as InvalidTask
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(
            f"Django {django.get_version()} has no Tasks framework; "
            "install the backport: python -m pip install 'django-cfg-tasks[tasks52]'"
        )


__all__ = [
    "HAS_CORE",
    "LOGGER",
    "MODULE",
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "is_installed",
    "normalize_json",
    "switch_on",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
