"""Names and properties of queues and exchanges. Pure; docs/guides/rabbitmq.md describes what stands in each.

P.QUEUE, P.QUEUE:high, P.QUEUE:low   quorum queues: one a band of priorities
P:dead                               what the delivery limit threw out, on its way to the database
P:delay:K                            ladder: a queue whose messages leave it after 50 x 2^K ms, and its exchange
P:due                                exchange behind the ladder

Queue names hold no colon, so nothing of ours meets a queue of a project.

A delayed message climbs down the ladder by itself. Its routing key holds one digit a step, "1" where it has to
wait, and then its queue: the exchange of each step binds "1" to the queue of the step and "0" to the next exchange.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from pika import spec

#: The shortest wait; longer ones are sums of doublings of it.
STEP_MS = 50
STEPS = 15
#: What the ladder takes: 15 minutes. Longer delays wait in the database.
LONGEST_MS = 900_000
#: A backstop against what the records of deaths cannot see, far above any number of graceful stops.
DELIVERY_LIMIT = 200
HIGH, NORMAL, LOW = "high", "", "low"
BANDS = (HIGH, NORMAL, LOW)

Call = tuple[Any, type]


class Route(NamedTuple):
    """Where to publish."""

    exchange: str
    routing_key: str


def band(priority: int) -> str:
    """RabbitMQ 3 has no priorities in quorum queues: three queues stand for before, normal and after."""
    if priority == 0:
        return NORMAL
    return HIGH if priority < 0 else LOW


def rank(band: str) -> int:
    return BANDS.index(band)


class Names:
    """What things are called below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.dead = f"{prefix}:dead"
        self.due = f"{prefix}:due"

    def queue(self, queue: str, band: str = NORMAL) -> str:
        return f"{self.prefix}.{queue}:{band}" if band else f"{self.prefix}.{queue}"

    def queues(self, queue: str) -> list[str]:
        return [self.queue(queue, band) for band in BANDS]

    def step(self, number: int) -> str:
        """The exchange of a step, and its queue; below the lowest stands what is due."""
        return f"{self.prefix}:delay:{number}" if number >= 0 else self.due

    def steps(self) -> list[str]:
        return [self.step(number) for number in range(STEPS)]

    def route(self, queue: str, priority: int, delay_ms: int) -> Route:
        """Straight to the queue, or to the highest step of the ladder that the delay needs."""
        name = self.queue(queue, band(priority))
        if delay_ms <= 0:
            return Route("", name)
        ticks = math.ceil(delay_ms / STEP_MS)
        return Route(self.step(ticks.bit_length() - 1), f"{digits(ticks)}.{name}")


def digits(ticks: int) -> str:
    """Binary, one digit a step, the highest first."""
    return ".".join(format(ticks, f"0{STEPS}b"))


def queue_calls(names: Names, queue: str) -> list[Call]:
    """Everything that one queue needs, the ladder's end included."""
    return [call for name in names.queues(queue) for call in _one_queue(names, name)]


def _one_queue(names: Names, name: str) -> Iterator[Call]:
    yield declaration(names, name)
    key = ".".join(["*"] * STEPS) + f".{name}"
    yield spec.Queue.Bind(queue=name, exchange=names.due, routing_key=key), spec.Queue.BindOk


def declaration(names: Names, name: str) -> Call:
    """Of a task queue. Its answer counts what is ready; repeating it changes nothing."""
    given = {"x-delivery-limit": DELIVERY_LIMIT, **_forwarding("", names.dead)}
    return _queue(name, given)


def _forwarding(exchange: str, routing_key: str | None) -> dict[str, Any]:
    """At least once: a message leaves the queue when the next one has confirmed it."""
    key = {"x-dead-letter-routing-key": routing_key} if routing_key is not None else {}
    return {
        "x-dead-letter-exchange": exchange,
        **key,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _queue(name: str, properties: dict[str, Any]) -> Call:
    arguments = {"x-queue-type": "quorum", **properties}
    return spec.Queue.Declare(queue=name, durable=True, arguments=arguments), spec.Queue.DeclareOk


def common_calls(names: Names) -> list[Call]:
    """What all queues share."""
    calls = [_queue(names.dead, {"x-delivery-limit": 1_000_000}), _exchange(names.due)]
    calls += [_exchange(name) for name in names.steps()]
    for number in range(STEPS):
        calls += _one_step(names, number)
    return calls


def _exchange(name: str) -> Call:
    return spec.Exchange.Declare(exchange=name, type="topic", durable=True), spec.Exchange.DeclareOk


def _one_step(names: Names, number: int) -> Iterator[Call]:
    here, below = names.step(number), names.step(number - 1)
    before = ["*"] * (STEPS - 1 - number)
    yield _queue(here, {"x-message-ttl": STEP_MS << number, **_forwarding(below, None)})
    yield spec.Queue.Bind(queue=here, exchange=here, routing_key=".".join([*before, "1", "#"])), spec.Queue.BindOk
    key = ".".join([*before, "0", "#"])
    yield spec.Exchange.Bind(destination=below, source=here, routing_key=key), spec.Exchange.BindOk


def removal(names: Names, queues: list[str]) -> list[Call]:
    """Delete it all; for tests and for `flush_all`."""
    own = [name for queue in queues for name in names.queues(queue)]
    gone = [*own, names.dead, *names.steps()]
    calls: list[Call] = [(spec.Queue.Delete(queue=name), spec.Queue.DeleteOk) for name in gone]
    return calls + [
        (spec.Exchange.Delete(exchange=name), spec.Exchange.DeleteOk) for name in [*names.steps(), names.due]
    ]
