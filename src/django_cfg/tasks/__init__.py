"""RUN: the engine and the Django app around it. Reads only `django.conf.settings`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_cfg.tasks.backends.task import task
    from django_cfg.tasks.privacy import Secret
    from django_cfg.tasks.records.current import current_task

__all__ = ["Secret", "current_task", "task"]

# Resolved at their first use: Django imports this package before its apps are ready, and not every project has the
# framework of Django tasks.
_HOMES = {
    "Secret": "django_cfg.tasks.privacy",
    "current_task": "django_cfg.tasks.records.current",
    "task": "django_cfg.tasks.backends.task",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
