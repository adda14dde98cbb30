"""Services that do not answer: their tests are skipped by name on a developer's machine and fail in CI."""

from __future__ import annotations

import os

import pytest
from django.conf import settings


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: Django's own would fail on a database that does not exist."""
    if item.get_closest_marker("postgres") and "postgres" not in settings.DATABASES:
        _cannot_run(f"PostgreSQL does not answer at {settings.POSTGRES_HOST}:{settings.POSTGRES_PORT}")
    if item.get_closest_marker("redis") and not settings.REDIS_ANSWERS:
        _cannot_run(f"Redis does not answer at {settings.REDIS_HOST}:{settings.REDIS_PORT}")


def _cannot_run(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI its tests must run", pytrace=False)
    pytest.skip(reason)
