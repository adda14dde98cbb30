"""Enqueue: numbered, so that a repetition after a lost answer stores nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import NoScriptError

from django_cfg.errors import BrokerUnreachable, EnqueueUnknown
from django_cfg.tasks.brokers.redis import scripts
from django_cfg.tasks.brokers.redis.link import Broken, Packed, packed
from django_cfg.tasks.brokers.redis.server import MOST_REMEMBERED, Lane, Server, pack_request
from django_cfg.tasks.brokers.redis.wire import Item

PRODUCER_TTL_MS = 3_600_000
ATTEMPTS = 3


def publish(server: Server, items: Sequence[Item]) -> None:
    """Store messages; all of them or, on an error, none.

    Raises:
        BrokerUnreachable: nothing was stored.
        EnqueueUnknown: the connection broke after the messages had left, and repetitions were not answered.
    """
    with server.lane() as lane:
        lane.seq += 1
        _repeated(_one(server, lane, items[0]) if len(items) == 1 else _many(server, lane, items))


def _many(server: Server, lane: Lane, items: Sequence[Item]) -> Callable[[], Any]:
    queues = list(dict.fromkeys(item[1] for item in items))
    keys = server.keys_for([server.keys.producer(lane.producer)], queues)
    request = pack_request((lane.seq, PRODUCER_TTL_MS, queues, items))
    return partial(lane.link.run, scripts.ENQUEUE, keys, request)


def _one(server: Server, lane: Lane, item: Item) -> Callable[[], Any]:
    """One message has a script of its own, in a command that is nearly ready."""
    message_id, queue, priority, delay_ms, end = item
    head = lane.heads.get(queue) or _head(server, lane, queue)
    rest = packed((lane.seq, PRODUCER_TTL_MS, message_id, queue, priority, delay_ms, end))
    return partial(_run_one, lane, head.then(rest))


def _head(server: Server, lane: Lane, queue: str) -> Packed:
    keys = server.keys.of_one(lane.producer, queue)
    head = packed(("EVALSHA", scripts.ENQUEUE_ONE.sha, len(keys), *keys))
    if len(lane.heads) < MOST_REMEMBERED:
        lane.heads[queue] = head
    return head


def _run_one(lane: Lane, command: Packed) -> None:
    try:
        lane.link.number(command)
    except NoScriptError:
        lane.link.call("SCRIPT", "LOAD", scripts.ENQUEUE_ONE.text)
        lane.link.number(command)


def _repeated(call: Callable[[], Any]) -> None:
    """The server drops a number that it has seen, so the very same call may be repeated."""
    broke: BrokerUnreachable | None = None
    for _ in range(ATTEMPTS):
        try:
            call()
        except BrokerUnreachable as error:
            if broke is None and not isinstance(error, Broken):
                raise
            broke = error
        else:
            return
    raise _unknown(broke) from broke


def _unknown(error: Any) -> EnqueueUnknown:
    return EnqueueUnknown(
        f"{error}. A message was being stored; it may or may not be there. "
        "Sending it again under the same message_id is safe."
    )
