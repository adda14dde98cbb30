"""The app behind this door."""

from django_cfg.tasks.apps import TasksConfig

__all__ = ["TasksConfig"]
