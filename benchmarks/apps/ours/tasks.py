"""The tasks of every round."""

from __future__ import annotations

import dramatiq

from benchmarks.slots import mark


@dramatiq.actor
def note(number: int) -> None:
    mark(number)


@dramatiq.actor(store_results=True)
def note_for_result(number: int) -> int:
    mark(number)
    return number
