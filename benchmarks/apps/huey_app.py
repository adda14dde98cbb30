"""Huey on Redis, or on a SQLite file."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey, SqliteHuey

from benchmarks.slots import mark


def _huey() -> Any:
    if os.environ["BENCH_URL"].startswith("redis"):
        return RedisHuey("bench", url=os.environ["BENCH_URL"])
    return SqliteHuey("bench", filename=os.environ["BENCH_FILE"])


huey = _huey()


@huey.task()
def note(number: int) -> None:
    mark(number)


@huey.task()
def note_for_result(number: int) -> int:
    mark(number)
    return number


send = note
send_for_result = note_for_result
