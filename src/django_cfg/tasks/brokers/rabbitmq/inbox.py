"""Messages that the server sent and no thread took yet: a worker's claims come out of here. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from django_cfg.tasks.brokers.rabbitmq.frames import Delivery
from django_cfg.tasks.brokers.rabbitmq.note import Note


@dataclass(order=True, slots=True)
class Entry:
    """One delivered message. Sorted by band, then by arrival.

    Attributes:
        seen: how often it came again; with `handed` and the note's fence this makes every claim distinct.
        deaths: runs that ended with the death of their process.
        handed: how often it was handed out here.
    """

    rank: int
    arrival: int
    queue: str = field(compare=False)
    message_id: str = field(compare=False)
    delivery: Delivery = field(compare=False)
    note: Note = field(compare=False)
    seen: int = field(compare=False, default=0)
    deaths: int = field(compare=False, default=0)
    handed: int = field(compare=False, default=0)

    @property
    def fence(self) -> int:
        return self.note.fence + self.seen + self.handed


#: What to do with an entry: True takes it, None leaves it, False drops it.
Judge = Callable[[Entry], bool | None]


class Inbox:
    """Entries by queue, best first."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[Entry]] = {}
        self._arrivals = itertools.count()

    def next_arrival(self) -> int:
        return next(self._arrivals)

    def put(self, entry: Entry) -> None:
        heapq.heappush(self._heaps.setdefault(entry.queue, []), entry)

    def take(self, queues: Sequence[str], count: int, turn: int, judge: Judge) -> tuple[list[Entry], list[Entry]]:
        """Up to `count` entries, a fair share of each queue first; and those that the judge dropped."""
        if not queues:
            return [], []
        start = turn % len(queues)
        order = [queue for queue in (*queues[start:], *queues[:start]) if self._heaps.get(queue)]
        taken: list[Entry] = []
        dropped: list[Entry] = []
        left: list[Entry] = []
        share = -(-count // len(order)) if order else 0
        while order and len(taken) < count:
            for queue in order:
                wanted = min(share, count - len(taken))
                self._take_from(self._heaps[queue], wanted, judge, (taken, dropped, left))
            order = [queue for queue in order if self._heaps[queue]]
            share = count
        for entry in left:
            self.put(entry)
        return sorted(taken), dropped

    @staticmethod
    def _take_from(
        heap: list[Entry], wanted: int, judge: Judge, piles: tuple[list[Entry], list[Entry], list[Entry]]
    ) -> None:
        taken, dropped, left = piles
        while heap and wanted > 0:
            entry = heapq.heappop(heap)
            verdict = judge(entry)
            if verdict:
                taken.append(entry)
                wanted -= 1
            else:
                (left if verdict is None else dropped).append(entry)

    def empty(self) -> list[Entry]:
        """Everything, taken out."""
        entries = [entry for heap in self._heaps.values() for entry in heap]
        self._heaps.clear()
        return entries

    def __iter__(self) -> Iterator[Entry]:
        return (entry for heap in self._heaps.values() for entry in heap)
