"""A project for foreign tests: tasks in memory, results in memory, an empty SQLite database beside them."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

DRAMATIQ_BROKER = {"OPTIONS": {"url": "stub://"}}
TASKS = {"default": {"BACKEND": "tests.conformance.backends.DummyBackend", "QUEUES": []}}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
