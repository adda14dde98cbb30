"""Django's Tasks framework on the backend of django-tasks-db."""

from __future__ import annotations

import json
import os

SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS = ["django_tasks", "django_tasks_db", "benchmarks.apps.django_tasks_db_app"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LOGGING_CONFIG = None
