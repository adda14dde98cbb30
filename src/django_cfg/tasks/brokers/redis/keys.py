"""Names of the keys. Pure; docs/guides/redis.md describes what stands in each.

P:messages          hash  id → head and JSON of every message that waits or runs
P:dead              hash  id → the same of dead letters, with reason, error and time
P:counter           number that positions and generations are taken from
P:sessions          zset  session → end of its lease
P:paused, P:cancelled, P:queues          sets
P:running           hash  queue → how many of its messages are claimed
P:session:N, P:session:N:held            who it is; id → "fence exchange queue time"
P:queue:Q           list  ids that wait with priority 0, the first on the left
P:queue:Q.priority, .suspects            zsets of ids that wait with another priority, or alone
P:queue:Q.delayed, .retrying             zsets of ids by due time (in all zsets the position stands before the id,
                         and between them ":", or "!" for another priority than 0)
P:queue:Q.DQ        list  ids of dead letters, the newest on the right
P:wake:Q            list  at most one token that wakes one idle worker
P:group:ID          hash of a group with completion callbacks: its size, and who has arrived
P:result:ID         a result, with its own end
P:owner             name of the project that the keys belong to
P:producer:ID       number of the last enqueue of one connection, for an hour
"""

from __future__ import annotations

from collections.abc import Iterable

#: Also the order in which the scripts expect them.
GLOBALS = ("messages", "dead", "counter", "sessions", "paused", "cancelled", "running", "queues")
PARTS = ("", ".priority", ".suspects", ".delayed", ".retrying", ".DQ")


class Keys:
    """The keys under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.messages = f"{prefix}:messages"
        self.dead = f"{prefix}:dead"
        self.counter = f"{prefix}:counter"
        self.sessions = f"{prefix}:sessions"
        self.paused = f"{prefix}:paused"
        self.queues = f"{prefix}:queues"
        self.swept = f"{prefix}:swept"
        self.owner = f"{prefix}:owner"
        self.warned = f"{prefix}:warned"
        self.globals = tuple(f"{prefix}:{name}" for name in GLOBALS)

    def session(self, number: int) -> str:
        return f"{self.prefix}:session:{number}"

    def held(self, number: int) -> str:
        return f"{self.prefix}:session:{number}:held"

    def result(self, message_id: str) -> str:
        return f"{self.prefix}:result:{message_id}"

    def results(self, message_ids: Iterable[str]) -> list[str]:
        start = self.result("")
        return [start + message_id for message_id in message_ids]

    def group(self, group_id: str) -> str:
        return f"{self.prefix}:group:{group_id}"

    def producer(self, name: str) -> str:
        return f"{self.prefix}:producer:{name}"

    def wake(self, queue: str) -> str:
        return f"{self.prefix}:wake:{queue}"

    def dead_of(self, queue: str) -> str:
        return f"{self.prefix}:queue:{queue}.DQ"

    def of_one(self, producer: str, queue: str) -> list[str]:
        """Those of the script that stores one message, in its order."""
        place = f"{self.prefix}:queue:{queue}"
        shared = [self.messages, self.dead, self.counter, self.paused, self.queues]
        return [self.producer(producer), *shared, place, f"{place}.priority", f"{place}.delayed", self.wake(queue)]

    def of_queues(self, queues: Iterable[str]) -> list[str]:
        """Seven keys a queue."""
        found = []
        for queue in queues:
            found += [f"{self.prefix}:queue:{queue}{part}" for part in PARTS]
            found.append(self.wake(queue))
        return found
