"""Running tasks inside a test, in its own process and thread: also in a plain `TestCase`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import dramatiq
from django.db import connections

from django_cfg.tasks import compat
from django_cfg.tasks.backends.ours import backends_of_ours
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.outbox.relay import has_table
from django_cfg.tasks.brokers.outbox.rows import aged, publish
from django_cfg.tasks.brokers.transactions import is_inside
from django_cfg.tasks.worker.inline import InlineWorker

ALL = "*"


def drain(*, backend: str = "default", queues: Sequence[str] = (ALL,), max_tasks: int | None = None) -> int:
    """Run everything that is ready, here and now, with the retries, expiry and hooks of a worker. Time limits are not
    enforced: in the thread of a test they would interrupt the test.

    What is due later (`run_after`, a retry that waits for its backoff) stays where it is. Signals fire in this
    thread, and the tasks see its database transaction. In a `TestCase` what waits for the commit of a block that has
    ended counts as committed.

    Parameters:
        backend: whose broker; an alias of TASKS. The default is the project's broker in any case.
        queues: only these, or only this one; `"*"` means all.
        max_tasks: stop after so many runs.

    Returns:
        How many runs there were.
    """
    broker = _broker_of(backend)
    asked = [queues] if isinstance(queues, str) else list(queues)
    _publish(broker)
    runs = _run(broker, asked, max_tasks)
    while runs != max_tasks and _publish(broker):  # what the tasks sent inside transactions of their own
        runs += _run(broker, asked, None if max_tasks is None else max_tasks - runs)
    return runs


def _run(broker: EngineBroker, asked: Sequence[str], limit: int | None) -> int:
    return InlineWorker(broker).run(_all_queues(broker) if ALL in asked else asked, limit)


def _publish(broker: EngineBroker) -> int:
    """What lies in outboxes that no commit will empty, because Django's `TestCase` is around it; returns how many."""
    published = 0
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block and not is_inside(connection) and has_table(connection.alias):
            if rows := list(aged(connection.alias).filter(broker=broker.name, error="")):
                publish(broker, connection.alias, rows)
            published += len(rows)
    return published


def purge() -> None:
    """Empty every broker of this project: what waits, dead letters, results."""
    for broker in set(_brokers()):
        broker.flush_all()


def _all_queues(broker: EngineBroker) -> list[str]:
    return sorted({*broker.queues, *(stats.queue for stats in broker.queue_stats())})


def _brokers() -> Iterator[EngineBroker]:
    yield cast("EngineBroker", dramatiq.get_broker())
    if compat.is_installed():
        for backend in backends_of_ours():
            yield backend.broker


def _broker_of(alias: str) -> EngineBroker:
    own = cast("EngineBroker", dramatiq.get_broker())
    if not compat.is_installed():
        return own
    return getattr(compat.task_backends[alias], "broker", own)
