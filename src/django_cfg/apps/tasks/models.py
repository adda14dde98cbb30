"""The record of a task under the name that people look for."""

from django_cfg.tasks.models import TaskRecord as Task

__all__ = ["Task"]
