"""The same project as that of our actors, with the other API."""

from __future__ import annotations

from benchmarks.apps.ours.settings import *  # noqa: F403

INSTALLED_APPS = ["django_cfg.apps.tasks", "benchmarks.apps.ours_django"]
TASKS = {"default": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": []}}
