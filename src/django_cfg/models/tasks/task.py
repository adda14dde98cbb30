"""Whether, where and with what limits background work is accepted, and the settings that say so."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, field_validator

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.models.tasks.broker_url import RESULT_SCHEMES, check_url
from django_cfg.models.tasks.dramatiq import DramatiqConfig
from django_cfg.models.tasks.names import check_dotted, check_unique
from django_cfg.models.tasks.redis_url import with_database

EMBEDDED_BROKER = "database://default"

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
    max_payload_bytes: int = Field(default=262_144, ge=1, description="Larger messages are refused, bytes.")
    auto_discover_tasks: bool = Field(default=True, description="Import the task modules of every installed app.")
    task_modules: Annotated[list[TaskModule], AfterValidator(lambda names: check_unique("task_modules", names))] = (
        Field(default_factory=lambda: ["tasks"], description="Modules or packages of an app that hold tasks.")
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
        """The two settings of background tasks, for a settings.py of your own.

        Args:
            cache_redis_url: Redis of the default cache, to be shared under another database number;
                `""` when it is none.
        """
        options = {"url": self.resolved_broker_url(cache_redis_url)}
        return {
            "DRAMATIQ_BROKER": {"OPTIONS": options, "MIDDLEWARE": list(self.dramatiq.middleware)},
            "DJANGO_CFG_TASKS": self._task_settings() | self._worker_settings(),
        }

    def _task_settings(self) -> dict[str, Any]:
        names = {"enabled", "auto_discover_tasks", "task_modules"}
        return self.model_dump(include=names | {"result_backend", "result_ttl_days", "max_payload_bytes"})

    def _worker_settings(self) -> dict[str, Any]:
        # `redis_db` has done its work in the URL and `middleware` stands with the broker.
        values = self.dramatiq.model_dump(exclude={"redis_db", "middleware"})
        return values | {"middleware_is_default": "middleware" not in self.dramatiq.model_fields_set}
