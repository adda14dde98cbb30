"""How an idle worker waits: for its connection and, at the same time, for a pipe that other threads write to."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from django_cfg.tasks.brokers.rabbitmq.link import Link

SPENT_READ = 4096


class RabbitWaiter:
    """Waits for deliveries of this thread's session.

    Parameters:
        link: the connection of the session that the calling thread opened last; None: it has none.
    """

    def __init__(self, link: Callable[[], Link | None]) -> None:
        self._link = link
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._ends = threading.Lock()
        self._is_closed = False
        self._is_waiting = False
        self._is_woken = False

    # -- called by the exchange thread -----------------------------------------------------------------

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """As the contract says; the connection is kept alive also where nothing is wanted.

        Raises:
            BrokerUnreachable: the connection broke.
        """
        self._is_waiting = True  # from here on a wake writes to the pipe; an earlier one is seen below
        try:
            if not self._is_woken:
                self._wait(bool(queues), time.monotonic() + timeout_s)
        finally:
            self._is_waiting = False
            self._is_woken = False

    def _wait(self, is_wanted: bool, deadline: float) -> None:
        link = self._link()
        while not self._has_come(link, is_wanted):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._is_rung(link, left_s):
                return

    @staticmethod
    def _has_come(link: Link | None, is_wanted: bool) -> bool:
        if link is None:
            return False
        link.tick()
        return is_wanted and bool(link.deliveries)

    def _is_rung(self, link: Link | None, left_s: float) -> bool:
        ends = [self._read_end, link.fileno()] if link is not None else [self._read_end]
        readable, _, _ = select.select(ends, [], [], left_s)
        if self._read_end not in readable:
            return False
        os.read(self._read_end, SPENT_READ)
        return True

    def close(self) -> None:
        with self._ends:
            self._is_closed = True
            os.close(self._read_end)
            os.close(self._write_end)

    # -- called by any thread --------------------------------------------------------------------------

    def wake(self) -> None:
        self._is_woken = True
        if not self._is_waiting:
            return  # the next wait sees the mark; a write for each finished task would cost more than the task
        with self._ends:
            if self._is_closed:
                return  # a task that outlived its worker; its pipe's number may be another file by now
            try:
                os.write(self._write_end, b"w")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already
