"""A worker's session: opened, renewed, exchanged over, closed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from django_cfg.errors import SessionLost
from django_cfg.tasks.brokers.contract import ProcessIdentity, Session, Want
from django_cfg.tasks.brokers.redis import scripts, wire
from django_cfg.tasks.brokers.redis.server import Server, text
from django_cfg.tasks.brokers.redis.sweep import held_by

#: What the scripts' numbers hold exactly, written in full.
HIGHEST_NUMBER = 10**14 - 1


def open_session(server: Server, identity: ProcessIdentity, lease_ms: int) -> Session:
    # By chance, because a server that lost its data would count from 1 again, and meet workers that had these numbers.
    number = 1 + secrets.randbelow(HIGHEST_NUMBER)
    who = (identity.host_id, identity.host, identity.pid, identity.process_started)
    server.run(scripts.OPEN_SESSION, _own(server, number), [], (number, lease_ms, *who))
    return Session(number, lease_ms)


def renew(server: Server, session: Session) -> frozenset[str]:
    held = server.run(scripts.RENEW, _own(server, session.id), [], (session.id, session.lease_ms))
    if held is None:
        raise SessionLost(f"session {session.id} has ended; its claims went to other workers")
    return frozenset(map(text, held))


def exchange(server: Server, session: Session, seq: int, settled: wire.Settlement, want: Want) -> Any:
    """The script's answer; None if the session has ended."""
    results = server.keys.results(settled.result_keys)
    keys = server.keys_for(_own(server, session.id), settled.queues, results)
    request = (
        session.id,
        session.lease_ms,
        seq,
        settled.queues,
        (max(0, want.count), want.suspect, len(want.queues)),
        settled.done,
        settled.others,
        settled.born,
        settled.results,
        wire.CANCELLED,
    )
    return server.run_on(scripts.EXCHANGE, keys, request)


def give_back(server: Server, session: Session, only: set[str] | None) -> None:
    """Give claims back uncounted; all of them (`None`) ends the session."""
    held = [claim for claim in held_by(server, session.id) if only is None or claim.message_id in only]
    queues = list(dict.fromkeys(claim.queue for claim in held))
    ids = [claim.message_id for claim in held]
    keys = server.keys_for(_own(server, session.id), queues, server.keys.results(ids))
    server.run_on(scripts.RELEASE, keys, (session.id, queues, ids, only is None, wire.CANCELLED))


def bury(server: Server, session: Session, unread: Sequence[tuple[str, int, str]]) -> None:
    """Move claims that nobody can read (id, fence, error) to the dead letters."""
    reason, held = "undecodable message", server.keys.held(session.id)
    entries = server.call("HMGET", held, *(message_id for message_id, *_ in unread))
    found = [  # the others were taken away with their lease
        (message_id, fence, text(entry).split(" ")[2], wire.info(reason, error))
        for (message_id, fence, error), entry in zip(unread, entries, strict=True)
        if entry is not None
    ]
    if found:
        queues = list(dict.fromkeys(queue for _, _, queue, _ in found))
        results = server.keys.results(message_id for message_id, *_ in found)
        server.run_on(scripts.BURY, server.keys_for([held], queues, results), (queues, found, *wire.verdict(reason)))


def _own(server: Server, number: int) -> list[str]:
    return [server.keys.session(number), server.keys.held(number)]
