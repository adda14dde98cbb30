"""Fixtures for pytest: `pytest_plugins = ["django_cfg.testing.pytest_plugin"]` in the top `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_cfg.testing.kit import TaskKit, Worker
from django_cfg.testing.kit import task_kit as make_kit


@pytest.fixture
def task_kit() -> Iterator[TaskKit]:
    """Background tasks on a broker in memory: see what was sent, run it, travel in time."""
    with make_kit() as kit:
        yield kit


@pytest.fixture
def eager_tasks(task_kit: TaskKit) -> Iterator[TaskKit]:
    """Every task runs where it is sent."""
    with task_kit.eager():
        yield task_kit


@pytest.fixture
def task_worker(task_kit: TaskKit, transactional_db: None) -> Iterator[Worker]:
    """A worker with threads; a task that becomes a dead letter fails the test."""
    with task_kit.worker() as worker:
        yield worker
