"""Claims that wait for a free thread of this process, best priority first."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Sequence

from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage

#: Since when it waits, and what.
_Waiting = tuple[float, Claim]


class Backlog:
    """A priority queue whose waiting claims can be taken back; one suspect at a time leaves it.

    Attributes:
        taken: how many claims threads have taken from it so far.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: By priority, each in the order of arrival; and the priorities of those that are not empty, the best first.
        self._lanes: dict[int, deque[_Waiting]] = {}
        self._order: list[int] = []
        self._waiting = 0
        self.taken = 0
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
                if claim.deliveries:
                    self._suspects += 1
                self._lane(claim.priority).append((now, claim))
            self._waiting += len(claims)
            self._wake_one()
        return ()

    def _lane(self, priority: int) -> deque[_Waiting]:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            insort(self._order, priority)
        return lane

    def _wake_one(self) -> None:
        """One thread at a time, which wakes the next before it runs its task: short tasks need no more than one."""
        if self._waiting and self._idle and not self._is_waking:
            self._is_waking = True
            self._changed.notify()

    def take(self) -> ClaimedMessage | None:
        """The next claim; waits for one. None when closed."""
        with self._lock:
            while not self._waiting and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
                self._is_waking = False
            if self._closed:
                return None
            self._running += 1
            claim = self._pop()
            self._wake_one()
        return ClaimedMessage(claim)

    def _pop(self) -> Claim:
        best = self._order[0]
        lane = self._lanes[best]
        self._waiting -= 1
        self.taken += 1
        _, claim = lane.popleft()
        if not lane:
            del self._order[0], self._lanes[best]
        return claim

    def done(self, claim: Claim) -> None:
        """A thread has settled what it took."""
        with self._lock:
            self._running -= 1
            if claim.deliveries:
                self._suspects -= 1

    def withdraw(self, older_than_s: float = 0.0, ids: frozenset[str] | None = None) -> list[Claim]:
        """Take waiting claims back: those that waited longer, or those named."""
        limit = time.monotonic() - older_than_s
        taken: list[Claim] = []
        with self._lock:
            for priority in list(self._order):
                lane = self._lanes[priority]
                gone = [w[1] for w in lane if (w[0] <= limit if ids is None else w[1].message_id in ids)]
                if gone:
                    self._keep(priority, {id(claim) for claim in gone})
                    taken += gone
            self._waiting -= len(taken)
            self._suspects -= sum(claim.is_suspect for claim in taken)
        return taken

    def _keep(self, priority: int, gone: set[int]) -> None:
        """What is left of a lane without these."""
        left = deque(waiting for waiting in self._lanes[priority] if id(waiting[1]) not in gone)
        if left:
            self._lanes[priority] = left
        else:
            del self._lanes[priority]
            self._order.remove(priority)

    def close(self) -> list[Claim]:
        """Hand out nothing more; returns what was never started."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        return self.withdraw()

    @property
    def waiting(self) -> int:
        return self._waiting

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
