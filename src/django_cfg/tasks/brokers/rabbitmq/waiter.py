"""How an idle worker waits: for its connection and, at the same time, for a pipe that other threads write to."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from django_cfg.tasks.brokers.bell import Bell
from django_cfg.tasks.brokers.rabbitmq.link import Link


class RabbitWaiter:
    """Waits for deliveries of this thread's session.

    Parameters:
        link: the connection of the session that the calling thread opened last; None: it has none.
    """

    def __init__(self, link: Callable[[], Link | None]) -> None:
        self._link = link
        self._bell = Bell()

    # -- called by the exchange thread -----------------------------------------------------------------

    def begin(self) -> None:
        """Nothing to find out."""

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """As the contract says; the connection is kept alive also where nothing is wanted.

        Raises:
            BrokerUnreachable: the connection broke.
        """
        with self._bell.heard() as is_silent:
            if is_silent:
                self._wait(bool(queues), time.monotonic() + timeout_s)

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
        ends = [self._bell.fileno(), link.fileno()] if link is not None else [self._bell.fileno()]
        readable, _, _ = select.select(ends, [], [], left_s)
        if ends[0] not in readable:
            return False
        self._bell.answer()
        return True

    def close(self) -> None:
        self._bell.close()

    # -- called by any thread --------------------------------------------------------------------------

    def wake(self) -> None:
        self._bell.ring()
