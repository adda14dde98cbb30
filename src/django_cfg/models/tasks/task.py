"""Whether, where and with what limits background work is accepted, and the settings that say so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.models.tasks.broker_url import RESULT_SCHEMES, check_url
from django_cfg.models.tasks.dramatiq import DramatiqConfig
from django_cfg.models.tasks.names import check_dotted, check_listen, check_target, check_unique
from django_cfg.models.tasks.redis_url import with_database
from django_cfg.models.tasks.schedule import AnySchedule

EMBEDDED_BROKER = "database://default"
TASK_BACKEND = "django_cfg.tasks.backends.EngineBackend"

Probe = Annotated[str, AfterValidator(check_listen)]
NoticeTarget = Annotated[str, AfterValidator(check_target)]
TaskModule = Annotated[
    str, AfterValidator(lambda name: check_dotted("task_modules", name, of="a module inside an app"))
]


class TaskBackend(StrEnum):
    """The engine that runs tasks."""

    DRAMATIQ = "dramatiq"


class TaskConfig(Part):
    """Background tasks. `TaskConfig()` alone is a working configuration."""

    enabled: bool = Field(default=True, description="False: sending a task raises an error that names this setting.")
    backend: TaskBackend = Field(default=TaskBackend.DRAMATIQ, description="The engine.")
    broker_url: str = Field(default="", description='Where messages wait; "": the cache\'s Redis, else the database.')
    result_backend: str | None = Field(
        default=None,
        description="Where results are kept; None: beside the messages (RabbitMQ: the database).",
    )
    result_ttl_days: int = Field(default=30, ge=1, description="How long a result can be read, days.")
    records: Literal["all", "finished", "failures", "off"] | None = Field(
        default=None,
        description='What is recorded; None: "failures", or "all" with `admin_enabled`.',
    )
    record_retention_days: int = Field(default=30, ge=1, description="How long a record is kept, days.")
    records_database: str = Field(
        default="default", min_length=1, description="Alias of the database that keeps records."
    )
    max_payload_bytes: int = Field(default=262_144, ge=1, description="Larger messages are refused, bytes.")
    probe: Probe | None = Field(
        default=None, description="Where `rundramatiq` answers /livez, /readyz and /metrics: host:port."
    )
    notices: list[NoticeTarget] = Field(
        default_factory=list,
        description="Who is told of new dead letters: mailto:a@b.example, telegram:CHAT, https://host/path.",
    )
    notices_every_s: int = Field(default=300, ge=10, description="At most one notice to each in this time, s.")
    notices_private_hosts: list[str] = Field(
        default_factory=list, description="Hosts of webhooks that may have a private address, and plain http."
    )
    health_min_workers: int = Field(default=1, ge=0, description="Fewer living workers are unhealthy; 0: none needed.")
    health_max_wait_s: int | None = Field(
        default=300, ge=1, description="A task that waits longer is degraded health, s; None: no limit."
    )
    health_max_pending: int | None = Field(
        default=None, ge=0, description="More waiting tasks in one queue are degraded health; None: no limit."
    )
    health_max_dead: int | None = Field(
        default=100, ge=0, description="More dead letters in one queue are degraded health; None: no limit."
    )
    enqueue_on_commit: bool = Field(
        default=True,
        description="A task that is sent inside a transaction is enqueued by its commit; False: at once.",
    )
    auto_discover_tasks: bool = Field(default=True, description="Import the task modules of every installed app.")
    task_modules: Annotated[list[TaskModule], AfterValidator(lambda names: check_unique("task_modules", names))] = (
        Field(default_factory=lambda: ["tasks"], description="Modules or packages of an app that hold tasks.")
    )
    schedules: list[AnySchedule] = Field(
        default_factory=list, description="Tasks that run by the clock: CronJob and IntervalJob."
    )
    dramatiq: DramatiqConfig = Field(default_factory=DramatiqConfig, description="Workers and limits.")

    refused_keys: ClassVar[Mapping[str, str]] = {
        "auto_start_worker": (
            "auto_start_worker does not exist: a web process that starts workers loses track of them; "
            "remove it and run `python manage.py rundramatiq` under a process manager"
        ),
    }

    @field_validator("dramatiq", mode="before")
    @classmethod
    def _none_is_default(cls, value: object) -> object:
        return DramatiqConfig() if value is None else value

    @field_validator("broker_url")
    @classmethod
    def _usable_broker(cls, value: str) -> str:
        return check_url("broker_url", value) if value else value

    @field_validator("result_backend")
    @classmethod
    def _usable_results(cls, value: str | None) -> str | None:
        if value == "":
            raise ConfigurationError("result_backend is empty; write a URL, or None for the broker's own store")
        return value if value is None else check_url("result_backend", value, RESULT_SCHEMES)

    def resolved_broker_url(self, cache_redis_url: str = "") -> str:
        """The broker that is used: as written, else the cache's Redis in a database of its own, else ours.

        Args:
            cache_redis_url: Redis of the default cache; `""` when it is none.
        """
        if self.broker_url:
            return self.broker_url
        if cache_redis_url:
            return with_database(cache_redis_url, self.dramatiq.redis_db)
        return EMBEDDED_BROKER

    def to_django_config(self, *, cache_redis_url: str = "") -> dict[str, Any]:
        """The settings of background tasks, for a settings.py of your own.

        Args:
            cache_redis_url: Redis of the default cache, to be shared under another database number;
                `""` when it is none.
        """
        options = {"url": self.resolved_broker_url(cache_redis_url)}
        return {
            "DRAMATIQ_BROKER": {"OPTIONS": options, "MIDDLEWARE": list(self.dramatiq.middleware)},
            "DJANGO_CFG_TASKS": self._task_settings() | self._worker_settings() | {"schedules": self._schedules()},
            "TASKS": {"default": self._django_tasks(options["url"])},
        }

    def _django_tasks(self, broker_url: str) -> dict[str, Any]:
        """Django's own tasks: on the same broker, with the same retries."""
        options = {
            # The embedded broker writes into the caller's transaction as it is.
            "enqueue_on_commit": self.enqueue_on_commit and broker_url != EMBEDDED_BROKER,
            "max_attempts": self.dramatiq.max_retries + 1,
        }
        return {"BACKEND": TASK_BACKEND, "QUEUES": list(self.dramatiq.queues or ()), "OPTIONS": options}

    def _task_settings(self) -> dict[str, Any]:
        # The broker's URL stands with the broker, and the workers' part is written by itself.
        return self.model_dump(exclude={"backend", "broker_url", "dramatiq"})

    def _schedules(self) -> list[dict[str, Any]]:
        return [schedule.to_django_config() for schedule in self.schedules]

    def _worker_settings(self) -> dict[str, Any]:
        # `redis_db` has done its work in the URL and `middleware` stands with the broker.
        values = self.dramatiq.model_dump(exclude={"redis_db", "middleware"})
        return values | {"middleware_is_default": "middleware" not in self.dramatiq.model_fields_set}
