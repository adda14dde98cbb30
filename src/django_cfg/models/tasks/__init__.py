"""Door: the configuration of background tasks."""

from __future__ import annotations

from django_cfg.models.tasks.dramatiq import DramatiqConfig
from django_cfg.models.tasks.schedule import CronJob, IntervalJob
from django_cfg.models.tasks.task import TaskBackend, TaskConfig

__all__ = ["CronJob", "DramatiqConfig", "IntervalJob", "TaskBackend", "TaskConfig"]
