"""Dead letters: read, moved back, deleted. Each queue lists its own, the oldest first."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from dramatiq import Message

from django_cfg.tasks.brokers import codec, paging
from django_cfg.tasks.brokers.collector import fresh
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo
from django_cfg.tasks.brokers.redis import scripts, wire
from django_cfg.tasks.brokers.redis.operate import known_queues
from django_cfg.tasks.brokers.redis.server import Server, text

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

CHUNK = 200


class Letter(NamedTuple):
    """A dead letter as it is stored."""

    message_id: str
    head: wire.Head
    died_at_ms: int
    reason: str
    error: str
    message: Message[Any] | None


class Meant(NamedTuple):
    """A filter, and the server's time that its ages count from."""

    only: DeadFilter
    now_ms: int

    def has(self, letter: Letter) -> bool:
        only, age_s = self.only, (self.now_ms - letter.died_at_ms) / 1000
        return (
            (only.task is None or letter.head.task == only.task)
            and (not only.message_ids or letter.message_id in only.message_ids)
            and (only.older_than_s is None or age_s >= only.older_than_s)
            and (only.newer_than_s is None or age_s <= only.newer_than_s)
            and (only.error is None or only.error.lower() in f"{letter.reason}\n{letter.error}".lower())
        )


def dead_letters(server: Server, only: DeadFilter, limit: int, after: str) -> list[DeadLetterInfo]:
    """Newest first, of all queues together."""
    now = now_ms(server)
    found = (_told(letter, now) for letter in _merged(server, only))
    return list(islice(paging.behind(found, after), limit))


def count_dead(server: Server, only: DeadFilter) -> int:
    return sum(1 for _ in _merged(server, only))


def _merged(server: Server, only: DeadFilter) -> Iterator[Letter]:
    meant = Meant(only, now_ms(server))
    if only.message_ids:
        return _named(server, meant)
    each = [_newest_first(server, queue, meant) for queue in _queues(server, only)]
    return heapq.merge(*each, key=lambda letter: letter.died_at_ms, reverse=True)


def _named(server: Server, meant: Meant) -> Iterator[Letter]:
    """Those of the named messages, without a look at any other."""
    chosen = list(dict.fromkeys(meant.only.message_ids))
    letters = [
        letter
        for i in range(0, len(chosen), CHUNK)
        for letter in _read(server, [name.encode() for name in chosen[i : i + CHUNK]])
    ]
    found = (x for x in letters if meant.has(x) and meant.only.queue in (None, x.head.queue))
    return iter(sorted(found, key=lambda letter: letter.died_at_ms, reverse=True))


def now_ms(server: Server) -> int:
    seconds, micros = server.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _queues(server: Server, only: DeadFilter) -> list[str]:
    return known_queues(server) if only.queue is None else [only.queue]


def _newest_first(server: Server, queue: str, meant: Meant) -> Iterator[Letter]:
    end = -1
    while chunk := server.call("LRANGE", server.keys.dead_of(queue), end - CHUNK + 1, end):
        yield from (letter for letter in reversed(_read(server, chunk)) if meant.has(letter))
        end -= CHUNK


def _read(server: Server, chunk: list[bytes]) -> list[Letter]:
    stored = server.call("HMGET", server.keys.dead, *chunk)
    return [_letter(text(i), body) for i, body in zip(chunk, stored, strict=True) if body is not None]


def _letter(message_id: str, stored: bytes) -> Letter:
    head, rest = wire.split(stored)
    note, _, body = rest.partition(b"\n")
    died_at, _, told = note.partition(b" ")
    reason, error = codec.loads(told)
    try:
        message = codec.decode(body)
    except ValueError:
        message = None
    return Letter(message_id, head, int(died_at), reason, error, message)


def _told(letter: Letter, now: int) -> DeadLetterInfo:
    errors = letter.message.options.get("errors", []) if letter.message is not None else []
    return DeadLetterInfo(
        message_id=letter.message_id,
        task=letter.head.task,
        queue=letter.head.queue,
        reason=letter.reason,
        error=letter.error,
        attempts=max(len(errors), letter.head.deliveries),
        age_s=max(0, now - letter.died_at_ms) / 1000,
        message=letter.message,
        cursor=paging.cursor(letter.died_at_ms, letter.message_id),
        deliveries=letter.head.deliveries,
    )


def retry_dead(server: Server, broker: EngineBroker, only: DeadFilter, spread_ms: int) -> int:
    """Each chunk moves in one step, so that nothing is in two places or in none."""
    act = partial(_revive, server, broker, spread_ms)
    if only.message_ids:
        return _each_named(server, only, act)
    return sum(_each(server, queue, only, partial(act, queue)) for queue in _queues(server, only))


def clear_dead(server: Server, only: DeadFilter) -> int:
    if only.message_ids:
        return _each_named(server, only, partial(_clear, server))
    return sum(_each(server, queue, only, partial(_clear, server, queue)) for queue in _queues(server, only))


def _each_named(server: Server, only: DeadFilter, act: Callable[[str, list[Letter]], int]) -> int:
    """Act on the named letters alone, queue by queue."""
    queues: dict[str, list[Letter]] = {}
    for letter in _named(server, Meant(only, now_ms(server))):
        queues.setdefault(letter.head.queue, []).append(letter)
    return sum(
        act(queue, letters[start : start + CHUNK])
        for queue, letters in queues.items()
        for start in range(0, len(letters), CHUNK)
    )


def _each(server: Server, queue: str, only: DeadFilter, act: Callable[[list[Letter]], int]) -> int:
    """Act on what was dead when we began, oldest first; `act` says how many letters it took out of the list."""
    meant = Meant(only, now_ms(server))
    left, start, taken = int(server.call("LLEN", server.keys.dead_of(queue))), 0, 0
    while left > 0:
        chunk = server.call("LRANGE", server.keys.dead_of(queue), start, start + min(CHUNK, left) - 1)
        if not chunk:
            break
        gone = act([letter for letter in _read(server, chunk) if meant.has(letter)])
        taken += gone
        left -= len(chunk)
        start += len(chunk) - gone
    return taken


def _revive(server: Server, broker: EngineBroker, spread_ms: int, queue: str, letters: list[Letter]) -> int:
    again = []
    for letter in letters:
        if letter.message is not None:
            message = fresh(letter.message)
            body = codec.encode(message.copy(message_id=letter.message_id))
            priority = broker.priority_for(message)
            end = wire.stored_end(queue, letter.head.task, body)
            again.append((letter.message_id, letter.head.position, priority, end, random.randint(0, spread_ms)))
    keys = server.keys_for([], [queue], [server.keys.result(message_id) for message_id, *_ in again])
    return int(server.run_on(scripts.REVIVE, keys, ([queue], again)))


def _clear(server: Server, queue: str, letters: list[Letter]) -> int:
    ids = [letter.message_id for letter in letters]
    return int(server.run(scripts.CLEAR, [], [queue], ([queue], ids)))
