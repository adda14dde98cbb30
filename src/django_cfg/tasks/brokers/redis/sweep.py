"""Taking the claims of lost sessions away. A session is lost when its lease has ended or its process is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from django_cfg.tasks.brokers.contract import ProcessIdentity
from django_cfg.tasks.brokers.endings import died_with_its_process, lost_for_good
from django_cfg.tasks.brokers.process import is_gone
from django_cfg.tasks.brokers.redis import scripts, wire
from django_cfg.tasks.brokers.redis.server import Server, text
from django_cfg.tasks.events import TaskSettled

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: After a longer silence of the sweeps the clock or the server stood still, and no lease can be judged.
LONGEST_GAP_MS = 15_000


class Held(NamedTuple):
    """A claim of a session as it stands on the server."""

    message_id: str
    fence: int
    queue: str
    stored: bytes


def sweep(server: Server, broker: EngineBroker, mine: ProcessIdentity) -> tuple[int, list[TaskSettled]]:
    """How many claims were taken, and the messages that died of it."""
    taken, died = 0, []
    for session, is_expired in _lost(server, broker, mine):
        claims = held_by(server, session)
        gone = _take(server, broker, session, claims, must_be_expired=is_expired)
        if gone is not None:
            taken += len(claims)
            died += gone
    return taken, died


def _lost(server: Server, broker: EngineBroker, mine: ProcessIdentity) -> Iterator[tuple[int, bool]]:
    """Lost sessions; True where nothing but the end of its lease speaks against it."""
    found = server.run(scripts.GUARD, [server.keys.swept], [], (LONGEST_GAP_MS, broker.settings.lease_ms))
    numbers, expired = [int(n) for n in found[::2]], found[1::2]
    who = server.calls([("HGETALL", server.keys.session(n)) for n in numbers])
    for number, is_expired, fields in zip(numbers, expired, who, strict=True):
        if is_gone(identity_of(fields), mine):
            yield number, False
        elif is_expired:
            yield number, True


def identity_of(fields: list[bytes]) -> ProcessIdentity:
    """Who a session belongs to, from the fields of its hash."""
    known = {text(name): text(value) for name, value in zip(fields[::2], fields[1::2], strict=True)}
    return ProcessIdentity(
        host_id=known.get("host_id", ""),
        host=known.get("host", ""),
        pid=int(known.get("pid", "0")),
        process_started=known.get("process_started", ""),
    )


def held_by(server: Server, session: int) -> list[Held]:
    """What a session holds."""
    fields = server.call("HGETALL", server.keys.held(session))
    if not fields:
        return []
    ids = [text(message_id) for message_id in fields[::2]]
    stored = server.call("HMGET", server.keys.messages, *ids)
    entries = [text(entry).split(" ") for entry in fields[1::2]]
    return [
        Held(message_id, int(fence), queue, body or b"")
        for message_id, (fence, _, queue, _), body in zip(ids, entries, stored, strict=True)
    ]


def _take(
    server: Server, broker: EngineBroker, session: int, claims: list[Held], *, must_be_expired: bool
) -> list[TaskSettled] | None:
    """The deaths among the claims; None if the session has gone on meanwhile."""
    deaths = [_death(broker, claim) for claim in claims]
    queues = list(dict.fromkeys(claim.queue for claim in claims))
    asked = [
        (claim.message_id, limit, wire.info(death.reason, ""), *wire.verdict(death.reason))
        for claim, (limit, death) in zip(claims, deaths, strict=True)
    ]
    own = [server.keys.session(session), server.keys.held(session)]
    keys = server.keys_for(own, queues, [server.keys.result(claim.message_id) for claim in claims])
    died = server.run_on(scripts.TAKE, keys, (session, must_be_expired, queues, asked, wire.CANCELLED))
    if died is None:
        return None
    gone = {text(message_id) for message_id in died}
    return [death for _, death in deaths if death.message_id in gone]


def _death(broker: EngineBroker, claim: Held) -> tuple[int, TaskSettled]:
    """How many deliveries are the end of this message, and the event of that end."""
    try:
        head, _ = wire.split(claim.stored)
    except ValueError:
        head = wire.Head(0, 0, 0, 0, 0, 0, claim.queue, "unknown")
    limit = broker.max_deliveries_of(head.task)
    reason = died_with_its_process(head.deliveries + 1)
    where = (claim.queue, head.position, claim.fence, head.enqueued_ms)
    return limit, lost_for_good(claim.message_id, head.task, reason, *where)
