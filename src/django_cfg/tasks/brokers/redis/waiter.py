"""How an idle worker waits: a blocking read of wake-up tokens, beside a pipe that ends the wait from other threads.

The blocking read stays open between waits; outcomes and claims go over another connection meanwhile.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from redis.exceptions import ResponseError

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.brokers.bell import Bell
from django_cfg.tasks.brokers.redis.link import pack
from django_cfg.tasks.brokers.redis.server import Server, text

#: The server ends a read after this time; a connection that is silent for longer is dead.
READ_S = 10
SILENT_S = READ_S + 5

#: (queues) -> seconds until a message of theirs can run, None if there is none
UntilDue = Callable[[tuple[str, ...]], float | None]
#: A token was read that nobody here can use
Remind = Callable[[str], None]


class RedisWaiter:
    """Waits for tokens of queues."""

    def __init__(self, server: Server, until_due: UntilDue, remind: Remind) -> None:
        self._link = server.link()
        self._wake_key = server.keys.wake
        self._until_due = until_due
        self._remind = remind
        self._asked: tuple[str, ...] = ()
        self._asked_at = 0.0
        self._bell = Bell()

    # -- called by the exchange thread -----------------------------------------------------------------

    def begin(self) -> None:
        """Nothing to find out."""

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """As the contract says.

        Raises:
            BrokerUnreachable: the server does not answer.
        """
        with self._bell.heard() as is_silent:
            if is_silent:
                self._wait(queues, timeout_s)

    def _wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        if queues:
            self._ask(queues)
            until_due = self._until_due(queues)
            if until_due is not None:
                deadline = min(deadline, time.monotonic() + until_due)
        while (left_s := deadline - time.monotonic()) > 0:
            if self._select(left_s, wanted=bool(queues)):
                return

    def _select(self, timeout_s: float, *, wanted: bool) -> bool:
        """True when there is a reason to end the wait."""
        ends = [self._bell.fileno(), self._link.fileno()] if self._asked else [self._bell.fileno()]
        readable, _, _ = select.select(ends, [], [], timeout_s)
        if ends[0] in readable:
            self._bell.answer()
            return True
        if len(ends) > 1 and ends[1] in readable:
            return self._read_token(wanted=wanted)
        if self._asked and time.monotonic() - self._asked_at > SILENT_S:
            self._drop()
            raise BrokerUnreachable("the connection that waits for work is dead")
        return False

    def _ask(self, queues: tuple[str, ...]) -> None:
        """Begin to read tokens of these queues, unless we are at it."""
        if self._asked == queues:
            return
        self._drop()
        self._link.send(pack(("BLPOP", *map(self._wake_key, queues), READ_S)))
        self._asked, self._asked_at = queues, time.monotonic()

    def _read_token(self, *, wanted: bool) -> bool:
        """True for a token; without one the server's time was over and the read begins anew."""
        queues, self._asked = self._asked, ()
        try:
            token = self._link.receive()
        except ResponseError as error:
            self._drop()
            raise BrokerUnreachable(f"Redis ends the wait for work: {error}") from error
        if token is None:
            self._ask(queues)
            return False
        if not wanted:
            # We have no room for work; whoever has must learn of it.
            self._remind(text(token[0]).rpartition(":")[2])
        return wanted

    def _drop(self) -> None:
        self._asked = ()
        self._link.close()

    def close(self) -> None:
        self._drop()
        self._bell.close()

    # -- called by any thread --------------------------------------------------------------------------

    def wake(self) -> None:
        self._bell.ring()
