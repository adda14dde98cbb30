"""Claims that wait for a free thread of this process, best priority first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage


@dataclass(order=True)
class _Waiting:
    priority: int
    arrival: int
    since: float = field(compare=False)
    message: ClaimedMessage = field(compare=False)


class Backlog:
    """A priority queue whose waiting claims can be taken back; one suspect at a time leaves it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._idle = 0
        self._running = 0
        self._suspects = 0
        self._closed = False

    def put(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Let them wait for a thread; returns those that it does not take, because it is closed."""
        now = time.monotonic()
        with self._changed:
            if self._closed:
                return claims
            for claim in claims:
                self._suspects += claim.is_suspect
                waiting = _Waiting(claim.priority, next(self._arrivals), now, ClaimedMessage(claim))
                heapq.heappush(self._heap, waiting)
            self._changed.notify(len(self._heap))
        return ()

    def take(self) -> ClaimedMessage | None:
        """The next claim; waits for one. None when closed."""
        with self._changed:
            self._idle += 1
            try:
                while not self._heap and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return None
                self._running += 1
                return heapq.heappop(self._heap).message
            finally:
                self._idle -= 1

    def done(self, claim: Claim) -> None:
        """A thread has settled what it took."""
        with self._changed:
            self._running -= 1
            self._suspects -= claim.is_suspect

    def withdraw(self, older_than_s: float = 0.0, ids: frozenset[str] | None = None) -> list[Claim]:
        """Take waiting claims back: those that waited longer, or those named."""
        limit = time.monotonic() - older_than_s
        with self._changed:
            taken = [w for w in self._heap if (w.since <= limit if ids is None else w.message.message_id in ids)]
            if taken:
                gone = {w.arrival for w in taken}
                self._heap = [w for w in self._heap if w.arrival not in gone]
                heapq.heapify(self._heap)
                self._suspects -= sum(w.message.claim.is_suspect for w in taken)
            return [w.message.claim for w in taken]

    def close(self) -> list[Claim]:
        """Hand out nothing more; returns what was never started."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return self.withdraw()

    @property
    def waiting(self) -> int:
        return len(self._heap)

    @property
    def idle(self) -> int:
        """Threads that wait for work."""
        return self._idle

    @property
    def running(self) -> int:
        return self._running

    @property
    def holds_suspect(self) -> bool:
        return self._suspects > 0
