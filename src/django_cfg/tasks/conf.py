"""The one reader of Django's settings: `DRAMATIQ_BROKER`, `DJANGO_CFG_TASKS`, `DRAMATIQ_CRON_JOBS`, typed.

`TaskConfig` writes every key. A project that keeps its own settings.py may leave out any of them; the
defaults below are those of `TaskConfig` (a test compares the two).
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from django_cfg.errors import ConfigurationError

DEFAULT_MIDDLEWARE = (
    "dramatiq.middleware.AgeLimit",
    "dramatiq.middleware.TimeLimit",
    "dramatiq.middleware.Callbacks",
    "dramatiq.middleware.Retries",
    "django_dramatiq.middleware.AdminMiddleware",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
)


@dataclass(frozen=True)
class TaskSettings:
    """What the engine was told. Times in the unit that the name says; plain names are milliseconds."""

    broker_url: str = "database://default"
    broker_class: str = ""
    middleware: tuple[str, ...] = DEFAULT_MIDDLEWARE
    middleware_is_default: bool = True
    enabled: bool = True
    auto_discover_tasks: bool = True
    task_modules: tuple[str, ...] = ("tasks",)
    processes: int = 4
    threads: int = 8
    queues: tuple[str, ...] | None = None
    max_retries: int = 3
    min_backoff: int = 1000
    max_backoff: int = 30_000
    max_age: int | None = None
    time_limit: int = 600_000
    hard_time_limit_ms: int | None = None
    lease_ms: int = 30_000
    max_deliveries: int = 5
    max_tasks_per_child: int | None = None
    max_memory_mb: int | None = None
    shutdown_timeout_ms: int = 25_000
    worker_conn_max_age: int | None = 60
    max_payload_bytes: int = 262_144
    enqueue_on_commit: bool = True
    result_backend: str | None = None
    result_ttl_days: float = 30
    probe: str | None = None
    notices: tuple[str, ...] = ()
    notices_every_s: int = 300
    notices_private_hosts: tuple[str, ...] = ()
    health_min_workers: int = 1
    health_max_wait_s: int | None = 300
    health_max_pending: int | None = None
    health_max_dead: int | None = 100
    records: str | None = None
    record_retention_days: float = 30
    records_database: str = "default"
    admin_enabled: bool = False
    prometheus_enabled: bool = False
    otel_enabled: bool = False
    redis_key_prefix: str = "dramatiq"
    rabbitmq_prefix: str = "dramatiq"
    schedules: tuple[dict[str, Any], ...] = ()
    broker_options: dict[str, Any] = field(default_factory=dict)
    cron_jobs: tuple[dict[str, Any], ...] = ()


#: A hundred years: what is kept longer is meant to stay.
MOST_DAYS = 36_500
KNOWN = {f.name for f in dataclasses.fields(TaskSettings)} - {
    "broker_url",
    "broker_class",
    "middleware",
    "broker_options",
    "cron_jobs",
}


def read() -> TaskSettings:
    """The task settings of this Django project.

    Raises:
        ConfigurationError: a key of `DJANGO_CFG_TASKS` or `DRAMATIQ_BROKER` that nobody reads.
    """
    given = dict(getattr(settings, "DJANGO_CFG_TASKS", {}))
    _refuse_unknown("DJANGO_CFG_TASKS", given, KNOWN)
    broker = dict(getattr(settings, "DRAMATIQ_BROKER", {}))
    _refuse_unknown("DRAMATIQ_BROKER", broker, {"BROKER", "OPTIONS", "MIDDLEWARE"})
    options = dict(broker.get("OPTIONS", {}))
    if "MIDDLEWARE" in broker:
        given.setdefault("middleware_is_default", False)
    return TaskSettings(
        **{name: _frozen(value) for name, value in given.items()},
        broker_url=options.pop("url", TaskSettings.broker_url),
        broker_class=broker.get("BROKER", ""),
        middleware=tuple(broker.get("MIDDLEWARE", DEFAULT_MIDDLEWARE)),
        broker_options=options,
        cron_jobs=tuple(getattr(settings, "DRAMATIQ_CRON_JOBS", ())),
    )


def records_alias() -> str:
    """The database that keeps records, results of some brokers, schedules and the announcements of workers."""
    return read().records_database


def project() -> str:
    """The name of this Django project: the package of its URLs, else of its settings; empty where neither is set."""
    module = getattr(settings, "ROOT_URLCONF", "") or getattr(settings, "SETTINGS_MODULE", "")
    return str(module).partition(".")[0]


def result_expiration_days() -> float | None:
    """How long the result of a Django task is kept, in days; None: as long as other results.

    Raises:
        ConfigurationError: it is no such number.
    """
    days = getattr(settings, "TASKS_RESULT_EXPIRATION_DAYS", None)
    if days is None or (isinstance(days, int | float) and not isinstance(days, bool) and 0 <= days <= MOST_DAYS):
        return days
    raise ConfigurationError(
        f"TASKS_RESULT_EXPIRATION_DAYS must be a number of days from 0 to {MOST_DAYS:,}, or None, got {days!r}"
    )


def tasks_log_level() -> str | int | None:
    """The level of Django's logger of tasks; None: as LOGGING says.

    Raises:
        ConfigurationError: no level has this name.
    """
    level = getattr(settings, "TASKS_LOG_LEVEL", None)
    if level is None or isinstance(level, int):
        return level
    known = logging.getLevelNamesMapping()
    if str(level).upper() not in known:
        raise ConfigurationError(f"TASKS_LOG_LEVEL must be one of {', '.join(known)}, got {level!r}")
    return str(level).upper()


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _refuse_unknown(setting: str, given: dict[str, Any], known: set[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."
            raise ConfigurationError(f"{setting} has an unknown key {name!r}.{hint}")
