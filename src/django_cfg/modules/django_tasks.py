"""Door to the service of background tasks, for monitoring code."""

from __future__ import annotations

from django_cfg.tasks.service import (
    DjangoTasks,
    TaskManager,
    clear_dramatiq_queues,
    get_task_health,
    get_task_service,
)

__all__ = ["DjangoTasks", "TaskManager", "clear_dramatiq_queues", "get_task_health", "get_task_service"]
