"""The watched command is the same command without its `--watch`, however that was spelled."""

from __future__ import annotations

import sys

import pytest

from django_cfg.tasks.worker.watch import command_without_watch

PLAIN = "manage.py rundramatiq --queues app --threads 2"


@pytest.mark.parametrize(
    "line",
    [
        PLAIN,
        f"{PLAIN} --watch",
        f"{PLAIN} --watch app",
        f"{PLAIN} --watch=app",
        f"{PLAIN} --wat app",
        f"{PLAIN} --w=app",
        "manage.py rundramatiq --watch --queues app --threads 2",
        "manage.py rundramatiq --watch app --queues app --threads 2",
        "manage.py rundramatiq --queues app --watch . --threads 2",
    ],
)
def test_only_the_watching_goes(line: str) -> None:
    assert command_without_watch(line.split()) == [sys.executable, *PLAIN.split()]
