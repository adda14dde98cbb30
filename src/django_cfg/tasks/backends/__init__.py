"""Django's Tasks framework on our brokers: `"BACKEND": "django_cfg.tasks.backends.EngineBackend"` in TASKS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django_cfg.tasks.backends.backend import EngineBackend

__all__ = ["EngineBackend"]


def __getattr__(name: str) -> Any:
    """At its first use: a project without Django tasks need not have the framework."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_string(f"{__name__}.backend.{name}")
