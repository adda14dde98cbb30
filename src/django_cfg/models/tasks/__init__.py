"""Door: the configuration of background tasks."""

from __future__ import annotations

from django_cfg.models.tasks.dramatiq import DramatiqConfig
from django_cfg.models.tasks.task import TaskBackend, TaskConfig

__all__ = ["DramatiqConfig", "TaskBackend", "TaskConfig"]
