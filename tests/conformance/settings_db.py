"""A project for django-tasks-db's tests: a database broker on a file, because some start workers of their own."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.conformance"]
DATABASES = {"default": {**DATABASES["default"], "NAME": os.environ["CONFORMANCE_DATABASE"]}}
TASKS = {"default": {"BACKEND": "tests.conformance.peer.DatabaseBackend"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"django_cfg.tasks": {"level": "CRITICAL"}, "dramatiq": {"level": "CRITICAL"}},
}
