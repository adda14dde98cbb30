"""How an idle worker waits: a blocking read of wake-up tokens, beside a pipe that ends the wait from other threads.

The blocking read stays open between waits; outcomes and claims go over another connection meanwhile.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from redis.exceptions import ResponseError

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks.brokers.redis.link import pack
from django_cfg.tasks.brokers.redis.server import Server, text

#: The server ends a read after this time; a connection that is silent for longer is dead.
READ_S = 10
SILENT_S = READ_S + 5
SPENT_READ = 4096

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
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._ends = threading.Lock()
        self._is_closed = False
        self._is_waiting = False
        self._is_woken = False

    # -- called by the exchange thread -----------------------------------------------------------------

    def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """As the contract says.

        Raises:
            BrokerUnreachable: the server does not answer.
        """
        self._is_waiting = True  # from here on a wake writes to the pipe; an earlier one is seen below
        try:
            if not self._is_woken:
                self._wait(queues, timeout_s)
        finally:
            self._is_waiting = False
            self._is_woken = False

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
        ends = [self._read_end, self._link.fileno()] if self._asked else [self._read_end]
        readable, _, _ = select.select(ends, [], [], timeout_s)
        if self._read_end in readable:
            os.read(self._read_end, SPENT_READ)
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
        with self._ends:
            self._is_closed = True
            os.close(self._read_end)
            os.close(self._write_end)

    # -- called by any thread --------------------------------------------------------------------------

    def wake(self) -> None:
        self._is_woken = True
        if not self._is_waiting:
            return  # the next wait sees the mark; a write for each finished task would cost more than the task
        self._is_waiting = False  # one write is enough
        with self._ends:
            if self._is_closed:
                return  # a task that outlived its worker; its pipe's number may be another file by now
            try:
                os.write(self._write_end, b"w")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups already
