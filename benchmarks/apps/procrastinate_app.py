"""Procrastinate: an asynchronous task, since its worker runs threads only one by one."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

import procrastinate

from benchmarks.slots import mark

DSN = os.environ["BENCH_DSN"]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DSN))


@app.task(name="note")
async def note(number: int) -> None:
    mark(number)


@functools.cache
def opened() -> procrastinate.App:
    """For a producer; a worker opens the app by itself."""
    return app.open()


def send(number: int) -> None:
    opened().configure_task("note").defer(number=number)


def send_many(numbers: Iterable[int]) -> None:
    opened().configure_task("note").batch_defer(*({"number": number} for number in numbers))
