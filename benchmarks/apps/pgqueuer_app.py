"""pgqueuer with the driver that its own guide uses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.slots import mark

DSN = os.environ["BENCH_DSN"]
#: As many as our own exchange claims at most; its default is 10.
BATCH = 128


async def _work() -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(DSN)))

    @pgq.entrypoint("note")
    async def note(job: Job) -> None:
        mark(int(job.payload or b"0"))

    await pgq.run(batch_size=BATCH)


def work() -> None:
    """One worker process."""
    asyncio.run(_work())


class _Sender:
    """One connection and one event loop for a script that is not asynchronous."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.queries: Queries | None = None

    def enqueue(self, names: list[str] | str, payloads: list[bytes | None] | bytes, ranks: list[int] | int) -> None:
        self.loop.run_until_complete(self._enqueue(names, payloads, ranks))

    async def _enqueue(self, names: object, payloads: object, ranks: object) -> None:
        if self.queries is None:
            self.queries = Queries(AsyncpgDriver(await asyncpg.connect(DSN)))
        await self.queries.enqueue(names, payloads, ranks)  # type: ignore[call-overload]


_sender = _Sender()


def send(number: int) -> None:
    _sender.enqueue("note", str(number).encode(), 0)


def send_many(numbers: Iterable[int]) -> None:
    payloads: list[bytes | None] = [str(number).encode() for number in numbers]
    _sender.enqueue(["note"] * len(payloads), payloads, [0] * len(payloads))
