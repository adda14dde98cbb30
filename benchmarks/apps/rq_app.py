"""RQ with its worker that does not fork for each job."""

from __future__ import annotations

import os
from collections.abc import Iterable

from redis import Redis
from rq import Queue

from benchmarks.slots import mark

queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_URL"]))


def note(number: int) -> None:
    mark(number)


def note_for_result(number: int) -> int:
    mark(number)
    return number


def send(number: int) -> None:
    queue.enqueue(note, number, result_ttl=0)


def send_for_result(number: int) -> None:
    queue.enqueue(note_for_result, number)


def send_many(numbers: Iterable[int]) -> None:
    queue.enqueue_many([Queue.prepare_data(note, (number,), result_ttl=0) for number in numbers])
