"""What operators ask and do with queues and waiting messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import QueueStats
from django_cfg.tasks.brokers.redis import scripts, wire
from django_cfg.tasks.brokers.redis.server import Server, text


def queue_stats(server: Server, declared: Iterable[str]) -> list[QueueStats]:
    """Declared queues and those that hold anything, by name; one script, so that no message is counted nowhere."""
    declared = set(declared)
    names = sorted(declared | set(known_queues(server)))
    counts = server.run(scripts.STATS, [], names, names)
    found = [_stats(name, *count) for name, count in zip(names, counts, strict=True)]
    return [stats for stats in found if stats.queue in declared or stats != QueueStats(stats.queue)]


def known_queues(server: Server) -> list[str]:
    """Every queue that ever held a message."""
    return sorted(text(name) for name in server.call("SMEMBERS", server.keys.queues))


def _stats(name: str, pending: int, scheduled: int, running: int, retrying: int, dead: int, age: int) -> QueueStats:
    oldest = None if age < 0 else age / 1000
    return QueueStats(name, pending, scheduled, running, retrying, dead, oldest)


def peek(server: Server, queue: str, limit: int) -> list[Message[Any]]:
    found = [wire.split(stored) for stored in server.run(scripts.PEEK, [], [queue], ([queue], limit))]
    found.sort(key=lambda one: (one[0].priority, one[0].position))
    return [codec.decode(body) for _, body in found[:limit]]


def cancel(server: Server, message_id: str) -> bool:
    stored = server.call("HGET", server.keys.messages, message_id)
    if stored is None:
        return False
    queue = wire.split(stored)[0].queue
    own = [server.keys.result(message_id)]
    return bool(server.run(scripts.CANCEL, own, [queue], ([queue], message_id, wire.CANCELLED)))


def resume(server: Server, queue: str) -> None:
    server.call("SREM", server.keys.paused, queue)
    server.run(scripts.REMIND, [], [queue], [queue])


def flush(server: Server, queue: str) -> None:
    while server.run(scripts.FLUSH, [], [queue], ([queue],)):
        pass  # a thousand of each kind at a time, so that nobody else waits long


def flush_all(server: Server) -> None:
    """Delete every key of our prefix and none of anybody else."""
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", server.keys.prefix) + ":*"
    cursor: bytes | int = 0
    while True:
        cursor, keys = server.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        if keys:
            server.call("UNLINK", *keys)
        if int(cursor) == 0:
            return
