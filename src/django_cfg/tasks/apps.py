"""The Django app: makes the broker before any task module is imported."""

from __future__ import annotations

import logging
from typing import Any

import dramatiq
from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured


class TasksConfig(AppConfig):
    """Entry for INSTALLED_APPS: `django_cfg.apps.tasks`, above every app whose models import tasks."""

    name = "django_cfg.tasks"
    label = "django_cfg_tasks"
    verbose_name = "Background tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        super().__init__(app_name, app_module)
        dramatiq.set_broker(_TooEarly())

    def import_models(self) -> None:
        """Models first, then the broker: tasks of the apps below bind to it while they are imported."""
        super().import_models()
        from django_cfg.tasks import conf
        from django_cfg.tasks.brokers import make

        dramatiq.set_broker(make.make(conf.read()))

    def ready(self) -> None:
        from django_cfg.tasks import checks, compat, conf  # noqa: F401 - registers the checks

        compat.switch_on()
        conf.result_expiration_days()  # a wrong one is an error now, and not when the first task has run
        if (level := conf.tasks_log_level()) is not None:
            logging.getLogger(compat.LOGGER).setLevel(level)


class _TooEarly(dramatiq.Broker):
    """Stands in until the real broker exists, and says what is in the wrong order."""

    def __init__(self) -> None:
        super().__init__(middleware=[])

    @property
    def actor_options(self) -> set[str]:
        raise ImproperlyConfigured(
            "A task was declared before its broker exists: put 'django_cfg.apps.tasks' above the app whose "
            "models import tasks in INSTALLED_APPS."
        )

    @actor_options.setter
    def actor_options(self, value: set[str]) -> None:
        """The base class sets an empty set; nothing to keep."""
