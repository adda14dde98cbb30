"""The event loop of a worker process, on which all its async tasks run."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from logging import Logger
from typing import Any, TypeVar

from dramatiq import Broker, Worker
from dramatiq.asyncio import EventLoopThread, set_event_loop_thread
from dramatiq.middleware import AsyncIO

from django_cfg.tasks.middleware.connections import check_async, look_after_async

START_S = 10.0
R = TypeVar("R")


class EventLoop(AsyncIO):
    """Dramatiq's event loop, which no task ends, with sound database connections for each of them."""

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        look_after_async()
        thread = LoopThread(self.logger)
        thread.start(timeout=START_S)
        set_event_loop_thread(thread)


class LoopThread(EventLoopThread):
    """The thread of the loop."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logger)
        self._lock = threading.Lock()
        self._running = 0

    def run_coroutine(self, coro: Awaitable[R]) -> R:
        """Run a coroutine on the loop and wait for what it returns or raises."""
        value: R
        with self._lock:
            check_async(is_alone=not self._running)
            self._running += 1
        try:
            value, leaving = super().run_coroutine(_carried(coro))
        finally:
            with self._lock:
                self._running -= 1
        if leaving is not None:
            raise leaving
        return value


async def _carried(coro: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """What would leave through the loop, and end it for every other task, is carried to the thread of its own task."""
    try:
        return await coro, None
    except (SystemExit, KeyboardInterrupt) as leaving:
        return None, leaving
