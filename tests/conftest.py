"""Services that do not answer: their tests are skipped by name on a developer's machine and fail in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import hypothesis
import pytest
from django.conf import settings
from dramatiq import broker as dramatiq_broker

# Laws that a broker breaks show what they saw.
pytest.register_assert_rewrite("django_cfg.testing.contracts")
# A busy machine is no failure.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: Django's own would fail on a database that does not exist."""
    if item.get_closest_marker("postgres") and "postgres" not in settings.DATABASES:
        _cannot_run(f"PostgreSQL does not answer at {settings.POSTGRES_HOST}:{settings.POSTGRES_PORT}")
    if item.get_closest_marker("mariadb") and "mysql" not in settings.DATABASES:
        _cannot_run(
            f"MariaDB does not answer at {settings.MARIADB_HOST}:{settings.MARIADB_PORT}, or the extra mysql is missing"
        )
    if item.get_closest_marker("redis") and not settings.REDIS_ANSWERS:
        _cannot_run(f"Redis does not answer at {settings.REDIS_HOST}:{settings.REDIS_PORT}")
    if item.get_closest_marker("rabbitmq") and not settings.RABBITMQ_ANSWERS:
        _cannot_run(f"RabbitMQ does not answer at {settings.RABBITMQ_HOST}:{settings.RABBITMQ_PORT}")
    if item.get_closest_marker("browser") and chromium() is None:
        _cannot_run("no Chromium on PATH (apt install chromium, or CHROMIUM=/path/to/it)")


def chromium() -> str | None:
    """The browser of this machine; nothing is downloaded."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def _cannot_run(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI its tests must run", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def same_broker_afterwards() -> Iterator[None]:
    """Changing INSTALLED_APPS makes another global broker, which nobody takes back."""
    before = dramatiq_broker.global_broker
    yield
    dramatiq_broker.global_broker = before
