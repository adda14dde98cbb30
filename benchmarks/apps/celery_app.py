"""Celery with threads; results only for the task that asks for them."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.slots import mark

URL = os.environ["BENCH_URL"]
app = Celery("bench", broker=URL, backend=URL if URL.startswith("redis") else None)
app.conf.task_ignore_result = True


@app.task
def note(number: int) -> None:
    mark(number)


send = note.delay
if URL.startswith("redis"):

    @app.task(ignore_result=False)
    def note_for_result(number: int) -> int:
        mark(number)
        return number

    send_for_result = note_for_result.delay
