"""Dramatiq on the broker of the package dramatiq-sqlite."""

from __future__ import annotations

import os

import dramatiq
from dramatiq_sqlite import SQLiteBroker

from benchmarks.slots import mark

dramatiq.set_broker(SQLiteBroker(url=os.environ["BENCH_FILE"], results=True))


@dramatiq.actor
def note(number: int) -> None:
    mark(number)


@dramatiq.actor(store_results=True)
def note_for_result(number: int) -> int:
    mark(number)
    return number


send = note.send
send_for_result = note_for_result.send
