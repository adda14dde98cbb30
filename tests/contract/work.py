"""Tasks of the tests; the framework wants them at the top of a module."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from django_cfg.tasks import Secret, compat, current_task, task
from django_cfg.tasks.backends import registry
from django_cfg.tasks.compat import TaskContext
from django_cfg.tasks.models import TaskResult

#: What ran, and how often.
runs: list[Any] = []
#: Where three tasks meet, if they run at the same time.
together = threading.Barrier(3)
arrived: list[int] = []


@task
def add(a: Any = 0, b: Any = 0) -> Any:
    runs.append((a, b))
    return a + b


@task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@task
def pay(card: Secret[str], amount: int) -> dict[str, Any]:
    return {"amount": amount, "card_token": card}


@task(takes_context=True)
def pay_by_context(context: TaskContext[Any, Any], card: Secret[str], amount: int) -> None:
    logging.getLogger("shop").warning("card %s", card)
    current_task().progress(1, 2, f"asked for {card}")
    raise ValueError(f"card {card} is refused")


@task(max_attempts=2, backoff=lambda error, result: float(str(error)))
def pay_again(card: Secret[str]) -> str:
    runs.append("pay")
    if len(runs) < 2:
        raise ValueError(f"card {card} is refused")
    return f"paid by {card}"


@task
async def aadd(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@task
def fail(text: str = "on purpose") -> None:
    runs.append(text)
    raise ValueError(text)


@task
def leave() -> None:
    raise SystemExit(3)


@task
async def aleave() -> None:
    raise SystemExit(3)


@task
async def acount(alias: str) -> int:
    return await TaskResult.objects.using(alias).filter(message_id="unknown").acount()


@task
def interrupt() -> None:
    raise KeyboardInterrupt("by the user")


@task
def unserialisable() -> Any:
    return lambda: True


@task
def endless_number() -> int:
    return 10**5000  # more digits than Python writes


@task(takes_context=True)
def look(context: TaskContext[Any, Any], *args: Any) -> Any:
    result = context.task_result
    result.refresh()
    seen = [result.id, context.attempt, result.status, len(result.worker_ids), *args]
    runs.append(seen)
    return seen


@task(takes_context=True, max_attempts=3, backoff=0)
def third_time(context: TaskContext[Any, Any]) -> int:
    runs.append(context.attempt)
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt}")
    return context.attempt


@task
def pause(seconds: float) -> None:
    time.sleep(seconds)


@task
async def apause(seconds: float) -> None:
    await asyncio.sleep(seconds)


@task
def note(name: Any) -> None:
    runs.append(name)


@task
def send_in_a_block(alias: str, name: str) -> None:
    with transaction.atomic(using=alias):
        note.using(enqueue_on_commit=True).enqueue(name)


@task
def meet() -> None:
    """Ends when two others have come."""
    together.wait(10)


@task
async def ameet() -> None:
    """Ends when two others have come, without a thread that waits for them."""
    arrived.append(1)
    async with asyncio.timeout(10):
        while len(arrived) < 3:
            await asyncio.sleep(0.005)


@contextmanager
def heard() -> Iterator[list[tuple[str, type, Any]]]:
    """Signals of tasks as (name, sender, status at that moment)."""
    seen: list[tuple[str, type, Any]] = []

    def listener(name: str) -> Any:
        def listen(sender: type, task_result: Any, **_: Any) -> None:
            seen.append((name, sender, task_result.status))

        return listen

    signals = {"enqueued": compat.task_enqueued, "started": compat.task_started, "finished": compat.task_finished}
    listeners = {name: listener(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(listeners[name])
    try:
        yield seen
    finally:
        for name, signal in signals.items():
            signal.disconnect(listeners[name])


def declared_with(task: Any, **options: Any) -> Any:
    """The task as if it had been declared with these options."""
    declared = type(task)(func=task.func, takes_context=task.takes_context, **options)
    registry.forget(task.module_path)
    registry.note(declared)
    return declared


def declare_again() -> None:
    """As at the start, whatever a test declared in between."""
    for declared in (fail, note, pause):
        registry.forget(declared.module_path)
        registry.note(declared)
