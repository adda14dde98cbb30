"""What stock Dramatiq left in Redis: counted, and moved into the broker of this project.

Stock keeps messages of `NS:Q` (a list of keys) in the hash `NS:Q.msgs`, delayed ones and retries under `Q.DQ`, dead
letters in `NS:Q.XQ.msgs`. What its workers have fetched stands in the hash alone, and in sets `NS:__acks__.WORKER.Q`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramatiq import Message

from django_cfg.errors import EnqueueUnknown, TaskError
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import FollowUp
from django_cfg.tasks.brokers.redis.link import Link

CHUNK = 500
DELAYED, DEAD = ".DQ", ".XQ"
#: Notes of stock about one delivery; they say nothing here.
SPENT = {"redis_message_id", "eta", "requeue_timestamp"}


@dataclass
class Found:
    """One queue of a stock namespace.

    Attributes:
        waiting, delayed, dead: messages of each kind that nobody holds.
        held: messages that stock workers have fetched and not acknowledged.
        imported, refused: how many were moved, and how many could not be read or stored and stay where they are.
    """

    queue: str
    waiting: int = 0
    delayed: int = 0
    dead: int = 0
    held: int = 0
    imported: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """A message as stock holds it: its key in the hash, and its text."""

    key: str
    text: bytes


class StockNamespace:
    """The messages of stock Dramatiq under one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self._link = Link(url)
        self._namespace = namespace

    def count(self, only: Sequence[str] = ()) -> list[Found]:
        """Each queue with its counts, by name; nothing changes."""
        names = {name.removesuffix(DELAYED).removesuffix(DEAD) for name in self._hashes()}
        return [self._count(name) for name in sorted(names) if not only or name in only]

    def _count(self, queue: str) -> Found:
        waiting, delayed = self._listed(queue), self._listed(queue + DELAYED)
        stored = self._size(queue) + self._size(queue + DELAYED)
        held = max(0, stored - len(waiting) - len(delayed))
        return Found(queue, len(waiting), len(delayed), self._size(queue + DEAD), held)

    def move(self, broker: EngineBroker, found: Found, *, with_held: bool) -> None:
        """Move a queue, a chunk at a time: stored first and deleted then, so that a repetition loses nothing.

        Raises:
            BrokerUnreachable, EnqueueUnknown: one of the two does not answer; what was not moved is still there.
        """
        for place in (found.queue, found.queue + DELAYED):
            keys = self._listed(place)
            for first in range(0, len(keys), CHUNK):
                self._move(broker, found, place, keys[first : first + CHUNK])
            if with_held:
                for chunk in self._all_keys(place):
                    self._move(broker, found, place, chunk)
        for chunk in self._all_keys(found.queue + DEAD):
            self._move(broker, found, found.queue + DEAD, chunk)

    def _move(self, broker: EngineBroker, found: Found, place: str, keys: Sequence[str]) -> None:
        texts = self._link.call("HMGET", self._hash(place), *keys) if keys else []
        stored = [Stored(key, text) for key, text in zip(keys, texts, strict=True) if text is not None]
        moved = _accept(broker, found, place, stored)
        found.imported += len(moved)
        self._forget(place, moved)

    def _forget(self, place: str, keys: Sequence[str]) -> None:
        if not keys:
            return
        self._link.call("HDEL", self._hash(place), *keys)
        if place.endswith(DEAD):
            self._link.call("ZREM", f"{self._namespace}:{place}", *keys)
            return
        for key in keys:
            self._link.call("LREM", f"{self._namespace}:{place}", 1, key)
        for holder in self._scan(f"{self._namespace}:__acks__.*.{place}"):
            self._link.call("SREM", holder, *keys)

    # -- keys of stock ---------------------------------------------------------------------------------

    def _hash(self, place: str) -> str:
        return f"{self._namespace}:{place}.msgs"

    def _hashes(self) -> Iterator[str]:
        for key in self._scan(f"{self._namespace}:*.msgs"):
            yield key[len(self._namespace) + 1 : -len(".msgs")]

    def _size(self, place: str) -> int:
        return int(self._link.call("HLEN", self._hash(place)))

    def _listed(self, place: str) -> list[str]:
        return [key.decode() for key in self._link.call("LRANGE", f"{self._namespace}:{place}", 0, -1)]

    def _all_keys(self, place: str) -> Iterator[list[str]]:
        keys = [key.decode() for key in self._link.call("HKEYS", self._hash(place))]
        for first in range(0, len(keys), CHUNK):
            yield keys[first : first + CHUNK]

    def _scan(self, pattern: str) -> Iterator[str]:
        escaped = re.sub(r"([?\[\]\\^])", r"\\\1", pattern)
        cursor: bytes | int = 0
        while True:
            cursor, keys = self._link.call("SCAN", cursor, "MATCH", escaped, "COUNT", 1000)
            yield from (key.decode() for key in keys)
            if int(cursor) == 0:
                return

    def close(self) -> None:
        self._link.close()


def _accept(broker: EngineBroker, found: Found, place: str, stored: Sequence[Stored]) -> list[str]:
    """The keys of those that the broker has now; what cannot be read or stored is noted."""
    good: list[tuple[str, FollowUp]] = []
    for one in stored:
        try:
            good.append((one.key, as_sent(one.text, found.queue)))
        except ValueError as error:
            found.refused.append(f"{place} {one.key}: {error}")
    try:
        _store(broker, place, [item for _, item in good])
        return [key for key, _ in good]
    except EnqueueUnknown:
        raise
    except TaskError:
        return _accept_one_by_one(broker, found, place, good)


def _accept_one_by_one(
    broker: EngineBroker, found: Found, place: str, good: Sequence[tuple[str, FollowUp]]
) -> list[str]:
    moved = []
    for key, item in good:
        try:
            _store(broker, place, [item])
        except EnqueueUnknown:
            raise
        except TaskError as error:
            found.refused.append(f"{place} {key}: {error}")
        else:
            moved.append(key)
    return moved


def _store(broker: EngineBroker, place: str, items: Sequence[FollowUp]) -> None:
    if not items:
        return
    if place.endswith(DEAD):
        broker.store_dead([item.message for item in items], "failed before it was imported")
    else:
        broker.store(items)


def as_sent(text: bytes, queue: str) -> FollowUp:
    """A message of stock as ours, with what is left of its delay.

    Raises:
        ValueError: it is no message.
    """
    message = codec.decode(text)
    delay_ms = _left_of_its_delay(message) if message.queue_name.endswith(DELAYED) else 0
    options = {name: value for name, value in message.options.items() if name not in SPENT}
    ours: Message[Any] = Message(
        queue_name=queue,
        actor_name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        options=options,
        message_id=message.message_id,
        message_timestamp=message.message_timestamp,
    )
    return FollowUp(ours, delay_ms)


def _left_of_its_delay(message: Message[Any]) -> int:
    eta = message.options.get("eta")
    return max(0, round(eta - time.time() * 1000)) if isinstance(eta, int | float) else 0
