"""Enqueue: numbered, so that a repetition after a lost answer stores nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_cfg.errors import BrokerUnreachable, EnqueueUnknown
from django_cfg.tasks.brokers.redis import scripts
from django_cfg.tasks.brokers.redis.link import Broken, Packed
from django_cfg.tasks.brokers.redis.server import Lane, Server, pack_request
from django_cfg.tasks.brokers.redis.wire import Item

PRODUCER_TTL_MS = 3_600_000
ATTEMPTS = 3


def publish(server: Server, items: Sequence[Item]) -> None:
    """Store messages; all of them or, on an error, none.

    Raises:
        BrokerUnreachable: nothing was stored.
        EnqueueUnknown: the connection broke after the messages had left, and repetitions were not answered.
    """
    queues = list(dict.fromkeys(item[1] for item in items))
    with server.lane() as lane:
        lane.seq += 1
        keys = server.keys_for([server.keys.producer(lane.producer)], queues)
        request = pack_request((lane.seq, PRODUCER_TTL_MS, queues, items))
        _send(lane, keys, request)


def _send(lane: Lane, keys: Packed, request: bytes) -> None:
    """The server drops a number that it has seen, so the very same call may be repeated."""
    broke: Broken | None = None
    for _ in range(ATTEMPTS):
        try:
            lane.link.run(scripts.ENQUEUE, keys, request)
        except Broken as error:
            broke = error
        except BrokerUnreachable as error:
            if broke is None:
                raise
            raise _unknown(error) from error
        else:
            return
    raise _unknown(broke) from broke


def _unknown(error: Any) -> EnqueueUnknown:
    return EnqueueUnknown(
        f"{error}. A message was being stored; it may or may not be there. "
        "Sending it again under the same message_id is safe."
    )
