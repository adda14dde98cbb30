"""The task of every round."""

from __future__ import annotations

from benchmarks.slots import mark
from django_cfg.tasks import task


@task
def note(number: int) -> None:
    mark(number)
