"""How many tasks wait, as a question that an autoscaler can ask the broker. No secrets.

The layout of the broker is the task app's; a test compares it with the tables that are really there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connections

TABLE = "django_cfg_tasks_queuemessage"
#: Ready, claimed and suspect: claimed ones count, or workers would be taken away while they work.
STATES = (0, 2, 3)
PASSWORD_KEY = "REDIS_PASSWORD"
#: By database: the scaler, its name for the target, its parameter for the connection, and the key of the secret.
SQL_SCALERS = {
    "postgresql": ("postgresql", "targetQueryValue", "connection", "KEDA_POSTGRES_CONNECTION"),
    "mysql": ("mysql", "queryValue", "connectionString", "KEDA_MYSQL_CONNECTION"),
}
RABBITMQ_KEY = "KEDA_RABBITMQ_HOST"
#: A queue is three in RabbitMQ: one for each band of priorities.
BANDS = ("", ":high", ":low")


@dataclass(frozen=True)
class Trigger:
    """One question of a scaler.

    Attributes:
        kind: the scaler's name for it.
        metadata: its parameters, all text.
        secrets: parameters that come from a secret, by the key there.
    """

    kind: str
    metadata: dict[str, str]
    secrets: dict[str, str] = field(default_factory=dict)


def triggers(broker_url: str, queues: Sequence[str], tasks_per_replica: int) -> list[Trigger]:
    """The questions for a broker; none where a scaler cannot ask (SQLite, a broker of one's own)."""
    parts = urlsplit(broker_url)
    if parts.scheme == "database":
        return _sql(parts.netloc or "default", queues, tasks_per_replica)
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return [_redis(parts, queue, tasks_per_replica) for queue in queues or ["default"]]
    if parts.scheme in ("amqp", "amqps"):
        return [_rabbitmq(queue, band, tasks_per_replica) for queue in queues or ["default"] for band in BANDS]
    return []


def _sql(alias: str, queues: Sequence[str], tasks_per_replica: int) -> list[Trigger]:
    if connections[alias].vendor not in SQL_SCALERS:
        return []
    kind, target, connection, key = SQL_SCALERS[connections[alias].vendor]
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in queues)
    where = f"state IN ({', '.join(map(str, STATES))})" + (f" AND queue IN ({names})" if names else "")
    metadata = {"query": f"SELECT count(*) FROM {TABLE} WHERE {where}", target: str(tasks_per_replica)}
    return [Trigger(kind, metadata, {connection: key})]


def _redis(parts: Any, queue: str, tasks_per_replica: int) -> Trigger:
    metadata = {
        "address": f"{parts.hostname}:{parts.port or 6379}",
        "databaseIndex": parts.path.strip("/") or "0",
        "listName": f"{_prefix('redis_key_prefix')}:queue:{queue}",
        "listLength": str(tasks_per_replica),
        "enableTLS": "true" if parts.scheme == "rediss" else "false",
    }
    if parts.username:
        metadata["username"] = parts.username
    return Trigger("redis", metadata, {"password": PASSWORD_KEY} if parts.password else {})


def _rabbitmq(queue: str, band: str, tasks_per_replica: int) -> Trigger:
    """Ready messages: this way of asking needs no plugin of the server, and does not see what workers hold."""
    metadata = {
        "protocol": "amqp",
        "mode": "QueueLength",
        "queueName": f"{_prefix('rabbitmq_prefix')}.{queue}{band}",
        "value": str(tasks_per_replica),
    }
    return Trigger("rabbitmq", metadata, {"host": RABBITMQ_KEY})


def _prefix(option: str) -> str:
    return str(getattr(settings, "DJANGO_CFG_TASKS", {}).get(option, "dramatiq"))
