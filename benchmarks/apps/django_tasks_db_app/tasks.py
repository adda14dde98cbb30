"""The task of every round."""

from __future__ import annotations

from django_tasks import task

from benchmarks.slots import mark


@task()
def note(number: int) -> None:
    mark(number)
