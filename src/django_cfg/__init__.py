"""Typed configuration and background tasks for Django. Importing this package does no work."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_cfg.models.cache import CacheConfig
    from django_cfg.models.database import DatabaseConfig
    from django_cfg.models.email import EmailConfig
    from django_cfg.models.environment import Environment
    from django_cfg.models.process import ProcessConfig
    from django_cfg.models.tasks import CronJob, DramatiqConfig, IntervalJob, TaskBackend, TaskConfig
    from django_cfg.models.telegram import TelegramConfig
    from django_cfg.modules.django_email import DjangoEmailService
    from django_cfg.modules.django_telegram import DjangoTelegram
    from django_cfg.project import DjangoConfig

__all__ = [
    "CacheConfig",
    "CronJob",
    "DatabaseConfig",
    "DjangoConfig",
    "DjangoEmailService",
    "DjangoTelegram",
    "DramatiqConfig",
    "EmailConfig",
    "Environment",
    "IntervalJob",
    "ProcessConfig",
    "TaskBackend",
    "TaskConfig",
    "TelegramConfig",
]

# Where each name lives. Resolved at its first use, so that workers that never read the configuration, and
# code that only wants the mail service, do not pay for Pydantic.
_HOMES = {
    "CacheConfig": "django_cfg.models.cache",
    "CronJob": "django_cfg.models.tasks",
    "DatabaseConfig": "django_cfg.models.database",
    "DjangoConfig": "django_cfg.project",
    "DjangoEmailService": "django_cfg.modules.django_email",
    "DjangoTelegram": "django_cfg.modules.django_telegram",
    "DramatiqConfig": "django_cfg.models.tasks",
    "EmailConfig": "django_cfg.models.email",
    "Environment": "django_cfg.models.environment",
    "IntervalJob": "django_cfg.models.tasks",
    "ProcessConfig": "django_cfg.models.process",
    "TaskBackend": "django_cfg.models.tasks",
    "TaskConfig": "django_cfg.models.tasks",
    "TelegramConfig": "django_cfg.models.telegram",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
