"""Stock Dramatiq with its default middleware; the scheme of the URL chooses the broker."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.results import Results

from benchmarks.slots import mark

URL = os.environ["BENCH_URL"]


def _broker() -> Any:
    if URL.startswith("amqp"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        return RabbitmqBroker(url=URL)
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results.backends import RedisBackend

    broker = RedisBroker(url=URL)
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
    return broker


dramatiq.set_broker(_broker())
HAS_RESULTS = not URL.startswith("amqp")


@dramatiq.actor
def note(number: int) -> None:
    mark(number)


send = note.send
if HAS_RESULTS:

    @dramatiq.actor(store_results=True)
    def note_for_result(number: int) -> int:
        mark(number)
        return number

    send_for_result = note_for_result.send
