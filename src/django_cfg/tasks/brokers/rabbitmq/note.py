"""What the broker writes beside a message, and messages in the form in which they travel. Pure."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, FollowUp, Outcome
from django_cfg.tasks.brokers.rabbitmq.frames import Delivery
from django_cfg.tasks.lifecycle import Kind

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker


class Note(NamedTuple):
    """Stands in the property `correlation_id`. Times by the clock of the host that wrote it.

    Attributes:
        fence: of the claim that this message continues; 0 when nobody claimed it yet.
    """

    enqueued_ms: int
    due_ms: int
    priority: int
    fence: int

    def __str__(self) -> str:
        return f"{self.enqueued_ms} {self.due_ms} {self.priority} {self.fence}"


class Parcel(NamedTuple):
    """A message on its way to a queue."""

    message_id: str
    task: str
    queue: str
    delay_ms: int
    note: Note
    body: str
    is_retry: bool = False


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def parcel(broker: EngineBroker, item: FollowUp, body: str) -> Parcel:
    """A message that is new."""
    now, delay_ms = now_ms(), max(0, round(item.delay_ms))
    return _parcel(item.message, body, delay_ms, Note(now, now + delay_ms, broker.priority_for(item.message), 0))


def retry_parcel(broker: EngineBroker, outcome: Outcome) -> Parcel:
    """The next life of a claim: same id, same acceptance, a fence that goes on."""
    claim, delay_ms = outcome.claim, max(0, round(outcome.delay_ms))
    message = outcome.message.copy(message_id=claim.message_id)
    note = Note(claim.enqueued_at_ms, now_ms() + delay_ms, claim.priority, claim.fence)
    return _parcel(message, codec.encode(message), delay_ms, note)._replace(is_retry=True)


def _parcel(message: Message[Any], body: str, delay_ms: int, note: Note) -> Parcel:
    return Parcel(message.message_id, message.actor_name, message.queue_name, delay_ms, note, body)


def parcels(broker: EngineBroker, outcomes: list[Outcome]) -> list[Parcel]:
    """Everything that these outcomes bring into the world.

    Raises:
        NotSerializable: one of them is not JSON.
    """
    retries = [retry_parcel(broker, o) for o in outcomes if o.kind is Kind.RETRY]
    born = [item for o in outcomes for item in o.follow_ups]
    return retries + [parcel(broker, item, codec.encode(item.message)) for item in born]


def read_note(delivery: Delivery) -> Note:
    """The note of a message; of a message that somebody else published, one that starts now."""
    try:
        return Note(*map(int, delivery.note.split(" ")))
    except (ValueError, TypeError):
        return Note(now_ms(), now_ms(), 0, 0)


def id_of(delivery: Delivery) -> str:
    """Its id; where nobody wrote one, the same for the same text."""
    if 0 < len(delivery.message_id) <= 64:
        return delivery.message_id
    try:
        found = codec.decode(delivery.body).message_id
    except ValueError:
        found = ""
    return found if 0 < len(found) <= 64 else str(uuid.uuid5(uuid.NAMESPACE_OID, delivery.body.hex()))


def readable(body: bytes) -> str:
    """A body as text that every database holds, whatever it is."""
    return body.decode(errors="backslashreplace").replace("\0", "\\x00")


def waited_ms(note: Note, now: int) -> dict[str, Any]:
    """The fields of a claim that tell time; clocks of hosts may differ, and no wait is negative."""
    return {
        "enqueued_at_ms": note.enqueued_ms,
        "waited_ms": max(0, now - note.due_ms),
        "age_ms": max(0, now - note.enqueued_ms),
    }


def claim_of(message: Message[Any], note: Note, body: str, fence: int, deliveries: int) -> Claim:
    return Claim(
        message=message,
        fence=fence,
        deliveries=deliveries,
        generation=note.enqueued_ms,
        priority=note.priority,
        body=body,
        **waited_ms(note, now_ms()),
    )
