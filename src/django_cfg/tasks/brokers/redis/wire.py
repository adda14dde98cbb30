"""Messages and outcomes in the form that the scripts read, and claims out of the form that they answer in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from django_cfg.tasks.brokers import codec, endings
from django_cfg.tasks.brokers.contract import Claim, FollowUp, Outcome, ResultEntry, Want
from django_cfg.tasks.brokers.endings import ended_badly
from django_cfg.tasks.brokers.prepare import claimable
from django_cfg.tasks.lifecycle import Kind

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: id, queue, priority, delay, what stands behind the times
Item = tuple[str, str, int, int, str]
#: JSON and its time to live, for whoever waits for the result of a cancelled message.
Verdict = tuple[str, int]


class Head(NamedTuple):
    """What the broker notes in front of a message."""

    claims: int
    deliveries: int
    position: int
    priority: int
    enqueued_ms: int
    due_ms: int
    queue: str
    task: str


def item(broker: EngineBroker, follow_up: FollowUp, body: str) -> Item:
    message = follow_up.message
    task = message.actor_name
    return (
        message.message_id,
        message.queue_name,
        broker.priority_for(message),
        max(0, round(follow_up.delay_ms)),
        stored_end(message.queue_name, task, body),
    )


def stored_end(queue: str, task: str, body: str) -> str:
    """The end of a stored text: what the head has last, and the message."""
    return f"{queue} {task.replace(chr(10), ' ')}\n{body}"


def split(stored: bytes) -> tuple[Head, bytes]:
    """Head and rest of a stored text.

    Raises:
        ValueError: this package has not written it.
    """
    line, _, rest = stored.partition(b"\n")
    fields = line.decode().split(" ", 7)
    if len(fields) != len(Head._fields):
        raise ValueError("the message has no head")
    claims, deliveries, position, priority, enqueued_ms, due_ms = map(int, fields[:6])
    return Head(claims, deliveries, position, priority, enqueued_ms, due_ms, fields[6], fields[7]), rest


def ranked(head: Head, message_id: str) -> str:
    """The member of a sorted set that stands for a message; those of one score stand in the order of acceptance."""
    return f"{head.position:016d}{'!' if head.priority else ':'}{message_id}"


def verdict(reason: str) -> Verdict:
    entry = ended_badly(reason)
    return result_text(entry)


def result_text(entry: ResultEntry) -> Verdict:
    return entry.text, max(1, round(entry.ttl_ms))


def info(reason: str, error: str) -> str:
    """What is written beside a dead letter; one line."""
    return codec.dumps([reason, error])


CANCELLED = verdict(endings.CANCELLED)


@dataclass
class Settlement:
    """The outcomes of one exchange, sorted by what the script does with them."""

    broker: EngineBroker
    queues: list[str]
    done: tuple[list[str], list[int]] = field(default_factory=lambda: ([], []))
    others: list[tuple[Any, ...]] = field(default_factory=list)
    born: list[tuple[str, Item]] = field(default_factory=list)
    results: tuple[list[str], list[str], list[int]] = field(default_factory=lambda: ([], [], []))
    released: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        message_id = outcome.claim.message_id
        if outcome.kind is Kind.DONE:
            self.done[0].append(message_id)
            self.done[1].append(outcome.claim.fence)
        else:
            self._add_other(outcome, message_id)
        for child in outcome.follow_ups:
            self._name(child.message.queue_name)
            self.born.append((message_id, item(self.broker, child, codec.encode(child.message))))
        if outcome.result is not None:
            ids, texts, ttls = self.results
            ids.append(message_id)
            texts.append(outcome.result.text)
            ttls.append(outcome.result.ttl_ms)

    def _add_other(self, outcome: Outcome, message_id: str) -> None:
        self._name(outcome.claim.message.queue_name)
        kind, failure = outcome.kind, outcome.failure
        released = kind is Kind.RELEASED
        self.others.append(
            (
                message_id,
                outcome.claim.fence,
                str(kind),
                "" if released else codec.encode(outcome.message),
                max(0, round(outcome.delay_ms)),
                info(outcome.reason, failure.text if failure else "") if kind is Kind.DEAD else "",
                self._place_of_released(message_id) if released else 0,
            )
        )

    def _name(self, queue: str) -> None:
        if queue not in self.queues:
            self.queues.append(queue)

    def _place_of_released(self, message_id: str) -> int:
        """The place, from 1, of a key behind those of the results."""
        self.released.append(message_id)
        return len(self.released)

    @property
    def result_keys(self) -> list[str]:
        """Of which messages the keys of results stand behind those of the queues."""
        return self.results[0] + self.released


def settlement(broker: EngineBroker, outcomes: Sequence[Outcome], want: Want) -> Settlement:
    """Queues that are wanted stand first: the script claims from as many."""
    found = Settlement(broker, list(want.queues))
    for outcome in outcomes:
        found.add(outcome)
    return found


class Reply(NamedTuple):
    """What the exchange script answers, beside the texts of the claims."""

    now_ms: int
    ids: list[str]
    fences: list[int]
    lengths: list[int]
    refused: list[str]
    revoked: list[str]
    paused: list[str]
    next_due_ms: int


_replies = msgspec.msgpack.Decoder(Reply)


def read_reply(answer: list[bytes]) -> tuple[Reply, list[bytes]]:
    """The answer of the exchange script and the stored text of each claim."""
    reply, texts, start = _replies.decode(answer[0]), answer[1], 0
    cut = []
    for length in reply.lengths:
        cut.append(texts[start : start + length])
        start += length
    return reply, cut


def read_claim(broker: EngineBroker, message_id: str, fence: int, stored: bytes, now_ms: int) -> Claim:
    """A claim out of what is stored.

    Raises:
        ValueError: nobody can read it.
    """
    line, _, body = stored.partition(b"\n")
    _, deliveries, position, priority, enqueued, due, queue, _ = line.split(b" ", 7)
    message = codec.decode(body)
    if message.message_id != message_id or message.queue_name != queue.decode():
        message = message.copy(message_id=message_id, queue_name=queue.decode())
    enqueued_ms, waited_ms = int(enqueued), now_ms - int(due)
    return Claim(
        message=claimable(broker, message),
        fence=fence,
        deliveries=int(deliveries),
        generation=int(position),
        priority=int(priority),
        enqueued_at_ms=enqueued_ms,
        waited_ms=waited_ms if waited_ms > 0 else 0,
        age_ms=max(0, now_ms - enqueued_ms),
        body=body.decode(),
    )
