"""What operators ask and do with queues and waiting messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import QueueStats, Standing
from django_cfg.tasks.brokers.redis import scripts, wire
from django_cfg.tasks.brokers.redis.server import Server, text
from django_cfg.tasks.brokers.redis.sweep import held_by
from django_cfg.tasks.lifecycle import State


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


def find(server: Server, message_id: str) -> Standing | None:
    """A message that waits or runs. Who holds it is asked of every session: there are as many as worker processes."""
    stored = server.call("HGET", server.keys.messages, message_id)
    if stored is None:
        return None
    try:
        head, body = wire.split(stored)
        message = codec.decode(body)
    except ValueError:
        return None  # it becomes a dead letter as soon as a worker sees it
    numbers = [int(number) for number in server.call("ZRANGE", server.keys.sessions, 0, -1)]
    held = server.calls([("HGET", server.keys.held(number), message_id) for number in numbers])
    for number, entry in zip(numbers, held, strict=True):
        if entry is not None:
            claimed_at_ms = int(text(entry).split(" ")[3])
            return Standing(message, State.RUNNING, head.deliveries, claimed_at_ms, _worker(server, number))
    return Standing(message, _waits_as(server, message_id, head), head.deliveries)


def _worker(server: Server, number: int) -> str:
    host, pid = server.call("HMGET", server.keys.session(number), "host", "pid")
    return "" if host is None else f"{text(host)}:{text(pid)}"


def _waits_as(server: Server, message_id: str, head: wire.Head) -> State:
    delayed, retrying = server.keys.of_queues([head.queue])[3:5]
    scores = server.calls([("ZSCORE", key, wire.ranked(head, message_id)) for key in (delayed, retrying)])
    if scores[0] is not None:
        return State.SCHEDULED
    return State.PENDING if scores[1] is None else State.RETRYING


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
    """Delete what waits and what is claimed; dead letters stay."""
    while server.run(scripts.FLUSH, [], [queue], ([queue],)):
        pass  # a thousand of each kind at a time, so that nobody else waits long
    for number in map(int, server.call("ZRANGE", server.keys.sessions, 0, -1)):
        held = [claim.message_id for claim in held_by(server, number) if claim.queue == queue]
        server.run(scripts.FLUSH_HELD, [server.keys.held(number)], [queue], ([queue], held))


def flush_all(server: Server) -> None:
    """Delete every key of our prefix and none of anybody else."""
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", server.keys.prefix) + ":*"
    cursor: bytes | int = 0
    while True:
        cursor, keys = server.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        if keys:
            server.call("UNLINK", *keys)
        if int(cursor) == 0:
            server.forget()
            return
