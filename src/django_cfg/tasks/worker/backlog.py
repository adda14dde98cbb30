"""Claims that wait for a free thread of this process, best priority first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Sequence

from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage

#: Priority, arrival, since when, and what waits; no two arrive at once, so nothing behind that is compared.
_Waiting = tuple[int, int, float, ClaimedMessage]


class Backlog:
    """A priority queue whose waiting claims can be taken back; one suspect at a time leaves it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._idle = 0
        self._is_waking = False
        self._running = 0
        self._suspects = 0
        self._closed = False

    def put(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Let them wait for a thread; returns those that it does not take, because it is closed."""
        now = time.monotonic()
        with self._lock:
            if self._closed:
                return claims
            for claim in claims:
                self._suspects += claim.is_suspect
                waiting = (claim.priority, next(self._arrivals), now, ClaimedMessage(claim))
                heapq.heappush(self._heap, waiting)
            self._wake_one()
        return ()

    def _wake_one(self) -> None:
        """One thread at a time, which wakes the next before it runs its task: short tasks need no more than one."""
        if self._heap and self._idle and not self._is_waking:
            self._is_waking = True
            self._changed.notify()

    def take(self) -> ClaimedMessage | None:
        """The next claim; waits for one. None when closed."""
        with self._lock:
            while not self._heap and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
                self._is_waking = False
            if self._closed:
                return None
            self._running += 1
            message = heapq.heappop(self._heap)[3]
            self._wake_one()
            return message

    def done(self, claim: Claim) -> None:
        """A thread has settled what it took."""
        with self._lock:
            self._running -= 1
            if claim.deliveries:
                self._suspects -= 1

    def withdraw(self, older_than_s: float = 0.0, ids: frozenset[str] | None = None) -> list[Claim]:
        """Take waiting claims back: those that waited longer, or those named."""
        limit = time.monotonic() - older_than_s
        with self._lock:
            taken = [w for w in self._heap if (w[2] <= limit if ids is None else w[3].message_id in ids)]
            if taken:
                gone = {arrival for _, arrival, _, _ in taken}
                self._heap = [w for w in self._heap if w[1] not in gone]
                heapq.heapify(self._heap)
                self._suspects -= sum(message.claim.is_suspect for *_, message in taken)
            return [message.claim for *_, message in taken]

    def close(self) -> list[Claim]:
        """Hand out nothing more; returns what was never started."""
        with self._lock:
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
