"""Exceptions thrown into a running task from outside, and only into a running task.

CPython delivers such an exception at some later bytecode of the thread. Thrown while the thread already
handles the end of its task, it would tear that apart: the verdict would be lost, and the thread with it. So
each worker thread has a slot that says "in the task", and both sides take its lock.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import Interrupt, Shutdown, ShutdownNotifications, TimeLimit, TimeLimitExceeded
from dramatiq.middleware.threading import current_platform, raise_thread_exception, supported_platforms

logger = logging.getLogger(__name__)


class TaskSlot:
    """Whether one thread is inside a task right now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id = threading.get_ident()
        self._inside = False
        self._thrown = False
        _slots[self._thread_id] = self

    def enter(self) -> None:
        """The task begins. Needs no lock: who throws right now throws into it, or sees that it does not run yet."""
        self._inside = True

    def leave(self) -> None:
        """The task is over; an exception still on its way is taken back. May be called twice."""
        try:
            self._leave()
        except Interrupt:
            self._leave()  # it arrived while leaving, when the task had already ended

    def _leave(self) -> None:
        with self._lock:
            self._inside = False
            if self._thrown:
                self._thrown = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_long(self._thread_id), None)

    def throw(self, error: type[Interrupt], is_meant: Callable[[], bool]) -> bool:
        """Interrupt the task; False if there is none, if it is another one, or if it was interrupted before."""
        with self._lock:
            if not self._inside or self._thrown or not is_meant():
                return False
            self._thrown = True
            raise_thread_exception(self._thread_id, error)
            return True

    def close(self) -> None:
        _slots.pop(self._thread_id, None)


_slots: dict[int, TaskSlot] = {}


def interrupt(thread_id: int, error: type[Interrupt], is_meant: Callable[[], bool]) -> bool:
    """Throw into the task of a thread; False if it is in none.

    Parameters:
        is_meant: asked while the thread can neither leave its task nor begin another, because between the
            decision to throw and the throw one may have ended and the next begun.
    """
    slot = _slots.get(thread_id)
    return slot is not None and slot.throw(error, is_meant)


class EngineTimeLimit(TimeLimit):
    """Dramatiq's time limit (milliseconds, soft: an exception in the thread), delivered through slots."""

    def __init__(self, *, time_limit: float = 600_000, interval: int = 250) -> None:
        super().__init__(time_limit=time_limit, interval=interval)
        self.manager: Any = _Deadlines(interval / 1000)

    def after_process_boot(self, broker: Broker) -> None:
        if current_platform in supported_platforms:
            self.manager.ensure_started()
        else:
            warnings.warn(f"time limits need CPython, this is {current_platform}", RuntimeWarning, stacklevel=2)


class _Deadlines:
    """The deadline of each thread's task, looked at every `interval_s`."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._deadlines: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def ensure_started(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="time-limits", daemon=True)
            self._thread.start()

    def add_timeout(self, thread_id: int, limit_ms: float) -> None:
        self._deadlines[thread_id] = time.monotonic() + limit_ms / 1000

    def remove_timeout(self, thread_id: int) -> None:
        self._deadlines.pop(thread_id, None)

    def _is_due(self, thread_id: int, deadline: float) -> bool:
        return self._deadlines.get(thread_id) == deadline

    def _run(self) -> None:
        while True:
            time.sleep(self._interval_s)
            now = time.monotonic()
            for thread_id, deadline in list(self._deadlines.items()):
                is_same = partial(self._is_due, thread_id, deadline)
                if now >= deadline and interrupt(thread_id, TimeLimitExceeded, is_same):
                    logger.warning("Time limit exceeded: the task in thread %s is interrupted.", thread_id)


class EngineShutdownNotifications(ShutdownNotifications):
    """Dramatiq's shutdown notifications (tasks with `notify_shutdown=True`), delivered through slots."""

    def __init__(self, notify_shutdown: bool = False) -> None:
        super().__init__(notify_shutdown=notify_shutdown)
        self.manager: Any = _Notifications()


class _Notifications:
    def __init__(self) -> None:
        self._threads: set[int] = set()

    def add_notification(self) -> None:
        self._threads.add(threading.get_ident())

    def remove_notification(self) -> None:
        self._threads.discard(threading.get_ident())

    def shutdown(self) -> None:
        for thread_id in list(self._threads):
            interrupt(thread_id, Shutdown, partial(self._threads.__contains__, thread_id))
