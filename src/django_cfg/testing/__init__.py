"""For tests of projects and of brokers: waiting, running tasks, and the suite that a broker must pass."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_cfg.testing.cases import EagerTasksMixin, TasksMixin
    from django_cfg.testing.kit import TaskFailed, TaskKit, task_kit
    from django_cfg.testing.tasks import drain, purge
    from django_cfg.testing.waiting import eventually

__all__ = ["EagerTasksMixin", "TaskFailed", "TaskKit", "TasksMixin", "drain", "eventually", "purge", "task_kit"]

_HOMES = {
    "EagerTasksMixin": "django_cfg.testing.cases",
    "TaskFailed": "django_cfg.testing.kit",
    "TaskKit": "django_cfg.testing.kit",
    "TasksMixin": "django_cfg.testing.cases",
    "drain": "django_cfg.testing.tasks",
    "eventually": "django_cfg.testing.waiting",
    "purge": "django_cfg.testing.tasks",
    "task_kit": "django_cfg.testing.kit",
}


def __getattr__(name: str) -> Any:
    """At its first use, because what runs tasks imports models."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
