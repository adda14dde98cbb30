"""How workers run tasks: processes, threads, queues, retries, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from django_cfg.models.part import Part
from django_cfg.models.problem import Problem
from django_cfg.models.tasks.names import check_amqp_prefix, check_dotted, check_key_prefix, check_queue, check_unique

DEFAULT_MIDDLEWARE = (
    "dramatiq.middleware.AgeLimit",
    "dramatiq.middleware.TimeLimit",
    "dramatiq.middleware.Callbacks",
    "dramatiq.middleware.Retries",
    "django_dramatiq.middleware.AdminMiddleware",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
)

Queue = Annotated[str, AfterValidator(check_queue)]
MiddlewarePath = Annotated[str, AfterValidator(lambda path: check_dotted("middleware", path, of="a middleware class"))]


class DramatiqConfig(Part):
    """Workers and the limits of tasks. Times are whole milliseconds unless the name says otherwise."""

    processes: int = Field(default=4, ge=1, le=32, description="Worker processes of one `rundramatiq`.")
    threads: int = Field(default=8, ge=1, le=64, description="Tasks that one process runs at a time.")
    queues: Annotated[list[Queue], AfterValidator(lambda names: check_unique("queues", names))] | None = Field(
        None, description="What a plain worker serves; None: `default` and every queue that a task names."
    )

    max_retries: int = Field(default=3, ge=0, description="Attempts after the first; 0: none.")
    min_backoff: int = Field(default=1000, ge=100, description="Wait before the first retry, ms.")
    max_backoff: int = Field(default=30_000, ge=1000, description="Longest wait between attempts, ms.")
    max_age: int | None = Field(
        default=None, ge=1000, description="A message older than this no longer runs, ms; None: any age."
    )
    time_limit: int = Field(
        default=600_000, ge=1, description="Exception in the thread of a task that runs longer, ms."
    )
    hard_time_limit_ms: int | None = Field(
        default=None,
        ge=1,
        description="The process of a task that runs longer is killed, ms; None: `time_limit` + 30000.",
    )

    lease_ms: int = Field(
        default=30_000,
        ge=5_000,
        le=3_600_000,
        description="A worker's claim on a message ends after this, ms.",
    )
    max_deliveries: int = Field(
        default=5, ge=1, description="Started runs that died with their process before it is a dead letter."
    )
    max_tasks_per_child: int | None = Field(
        default=None, ge=1, description="A worker process that has run so many tasks is replaced; None: never."
    )
    max_memory_mb: int | None = Field(
        default=None, ge=16, description="A worker process with more resident memory, MiB, is replaced; None: never."
    )
    shutdown_timeout_ms: int = Field(
        default=25_000,
        ge=0,
        description="Time for running tasks to end at a graceful stop, ms; 0: give back at once.",
    )
    worker_conn_max_age: int | None = Field(
        default=60,
        ge=0,
        description="Life of a worker's database connection, s; 0: one task; None: no limit.",
    )

    redis_db: int = Field(default=2, ge=0, description="Database number when the broker is the cache's Redis.")
    redis_key_prefix: Annotated[str, AfterValidator(check_key_prefix)] = Field(
        default="dramatiq", description="First part of every Redis key."
    )
    rabbitmq_prefix: Annotated[str, AfterValidator(check_amqp_prefix)] = Field(
        default="dramatiq", description="First part of the name of every queue and exchange in RabbitMQ."
    )

    prometheus_enabled: bool = Field(
        default=False, description="Worker metrics for Prometheus, on 127.0.0.1:9191 (extra `prometheus`)."
    )
    otel_enabled: bool = Field(default=False, description="OpenTelemetry spans from send to run (extra `otel`).")
    admin_enabled: bool = Field(default=False, description="Record every task and show the admin pages.")
    middleware: Annotated[list[MiddlewarePath], AfterValidator(lambda paths: check_unique("middleware", paths))] = (
        Field(default_factory=lambda: list(DEFAULT_MIDDLEWARE), description="Dotted paths; the order matters.")
    )

    refused_keys: ClassVar[Mapping[str, str]] = {
        "broker_url": "broker_url belongs to TaskConfig; write TaskConfig(broker_url=..., dramatiq=...)",
    }

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Problem]:
        least, most = values.get("min_backoff"), values.get("max_backoff")
        if least is not None and most is not None and least > most:
            yield Problem(
                ("min_backoff",),
                f"min_backoff {least} ms is above max_backoff {most} ms",
                cure="lower min_backoff or raise max_backoff",
            )
        soft, hard = values.get("time_limit"), values.get("hard_time_limit_ms")
        if soft is not None and hard is not None and hard < soft:
            yield Problem(
                ("hard_time_limit_ms",),
                f"hard_time_limit_ms {hard} is below time_limit {soft}: no task would get its exception",
                cure="raise hard_time_limit_ms or lower time_limit",
            )
