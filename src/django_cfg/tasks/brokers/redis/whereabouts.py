"""Where a message stands, and who holds claims, on Redis. A few plain reads: what moves meanwhile may be seen twice."""

from __future__ import annotations

from django_cfg.tasks.brokers.contract import SessionInfo, Whereabouts
from django_cfg.tasks.brokers.redis import wire
from django_cfg.tasks.brokers.redis.server import Server
from django_cfg.tasks.brokers.redis.sweep import identity_of
from django_cfg.tasks.lifecycle import State
from django_cfg.units import ms_to_s


def sessions(server: Server) -> list[SessionInfo]:
    """The open sessions; those whose lease ended first come first."""
    now = now_ms(server)
    found = server.call("ZRANGE", server.keys.sessions, 0, 999, "WITHSCORES")
    leases = {int(number): float(until) for number, until in zip(found[::2], found[1::2], strict=True)}
    who = server.calls([("HGETALL", server.keys.session(number)) for number in leases])
    held = server.calls([("HLEN", server.keys.held(number)) for number in leases])
    return [
        SessionInfo(identity_of(fields), ms_to_s(until - now), int(count))
        for until, fields, count in zip(leases.values(), who, held, strict=True)
    ]


def find(server: Server, message_id: str) -> Whereabouts | None:
    """The message with this id, if it waits or runs."""
    stored = server.call("HGET", server.keys.messages, message_id)
    if stored is None:
        return None
    head, _ = wire.split(stored)
    now = now_ms(server)
    holder = _holder(server, message_id, now)
    state = State.RUNNING if holder else _waiting(server, head, message_id)
    return Whereabouts(
        message_id=message_id,
        task=head.task,
        queue=head.queue,
        state=state,
        age_s=ms_to_s(max(0, now - head.enqueued_ms)),
        due_in_s=ms_to_s(max(0, head.due_ms - now)),
        deliveries=head.deliveries,
        session=holder,
    )


def _waiting(server: Server, head: wire.Head, message_id: str) -> State:
    key, member = f"{server.keys.prefix}:queue:{head.queue}", wire.ranked(head, message_id)
    delayed, retrying = server.calls([("ZSCORE", f"{key}.delayed", member), ("ZSCORE", f"{key}.retrying", member)])
    if retrying is not None:
        return State.RETRYING
    return State.PENDING if delayed is None else State.SCHEDULED


def _holder(server: Server, message_id: str, now: float) -> SessionInfo | None:
    numbers = [int(number) for number in server.call("ZRANGE", server.keys.sessions, 0, -1)]
    held = server.calls([("HEXISTS", server.keys.held(number), message_id) for number in numbers])
    for number, is_held in zip(numbers, held, strict=True):
        if is_held:
            return _session(server, number, now)
    return None


def _session(server: Server, number: int, now: float) -> SessionInfo:
    until, fields, count = server.calls(
        [
            ("ZSCORE", server.keys.sessions, number),
            ("HGETALL", server.keys.session(number)),
            ("HLEN", server.keys.held(number)),
        ]
    )
    return SessionInfo(identity_of(fields), ms_to_s(float(until or now) - now), int(count))


def now_ms(server: Server) -> float:
    """The server's clock, milliseconds since 1970."""
    seconds, microseconds = server.call("TIME")
    return int(seconds) * 1000 + int(microseconds) / 1000
