"""Publishing: every message confirmed, one wait for all of a call, and nowhere to go is an error."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from django_cfg.errors import BrokerError, BrokerUnreachable, EnqueueUnknown
from django_cfg.tasks.brokers.rabbitmq import frames, topology
from django_cfg.tasks.brokers.rabbitmq.address import Address
from django_cfg.tasks.brokers.rabbitmq.link import Broken, Link
from django_cfg.tasks.brokers.rabbitmq.note import Parcel
from django_cfg.tasks.brokers.rabbitmq.topology import Names

#: How long messages are sent again that the server refuses: a queue that is being made, or that has no leader at the
#: moment, stores nothing and says so. Pauses double.
REFUSED_S, FIRST_PAUSE_S = 2.0, 0.01


class Publisher:
    """Connections are made when needed, one for each thread that publishes at the same time."""

    def __init__(self, address: Address, names: Names) -> None:
        self.address = address
        self.names = names
        self._free: deque[Link] = deque()
        self._pid = os.getpid()
        #: Queues that this process knows to be there, and those that it ever made.
        self.declared: set[str] = set()
        self.made: set[str] = set()
        self._has_common = False

    @contextmanager
    def link(self) -> Iterator[Link]:
        """A sound connection of one's own for a while."""
        link = self._borrow()
        try:
            self._refresh(link)
            yield link
        except BaseException:
            link.drop()  # also a time limit may end a task between a call and its answer
            raise
        finally:
            self._free.append(link)

    def _borrow(self) -> Link:
        if self._pid != os.getpid():
            self._forget_links()
        try:
            return self._free.pop()
        except IndexError:
            return Link(self.address)

    def _forget_links(self) -> None:
        """After a fork: two processes on one socket would read each other's answers."""
        inherited, self._free, self._pid = self._free, deque(), os.getpid()
        for link in inherited:
            link.drop()

    @staticmethod
    def _refresh(link: Link) -> None:
        """The server may have ended the connection while nobody used it; nothing was under way then."""
        try:
            if link.is_open:
                link.tick()
        except BrokerError:
            link.drop()
        link.connect()

    def publish(self, parcels: Sequence[Parcel]) -> None:
        """Store messages.

        Raises:
            BrokerUnreachable: nothing was stored.
            EnqueueUnknown: the connection broke, or the server refused some, after they had left.
        """
        if not parcels:
            return
        with self.link() as link:
            self.declare(link, {parcel.queue for parcel in parcels})
            lost = self._send(link, parcels)
            if not lost:
                return
            self.forget()  # somebody deleted a queue: make it anew
            self.declare(link, {parcel.queue for parcel in lost})
            if self._send(link, lost):
                raise BrokerError(f"RabbitMQ at {self.address.shown} has no queue for {lost[0].queue!r}")

    def declare(self, link: Link, queues: Iterable[str]) -> None:
        """Make queues, and what all of them share, once a process."""
        new = [queue for queue in queues if queue not in self.declared]
        calls = [] if self._has_common else topology.common_calls(self.names)
        calls += [call for queue in new for call in topology.queue_calls(self.names, queue)]
        if not calls:
            return
        link.calls(calls)
        self._has_common = True
        self.declared.update(new)
        self.made.update(new)

    def forget(self) -> None:
        """Declare everything again before the next use."""
        self.declared, self._has_common = set(), False

    def _send(self, link: Link, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Publish, and again what the server does not store at first; returns what no queue took."""
        lost: list[Parcel] = []
        left, pause_s, deadline = parcels, FIRST_PAUSE_S, time.monotonic() + REFUSED_S
        while True:
            try:
                refused, unroutable = self._try(link, left)
            except BrokerUnreachable as error:
                if len(left) == len(parcels):
                    raise
                raise _unknown(error) from error  # earlier tries stored the others
            lost += unroutable
            if not refused:
                return lost
            if time.monotonic() > deadline:
                raise self._refused(len(refused), len(parcels))
            time.sleep(pause_s)
            left, pause_s = refused, 2 * pause_s

    def _try(self, link: Link, parcels: Sequence[Parcel]) -> tuple[list[Parcel], list[Parcel]]:
        """Publish once; returns what the server did not store, and what no queue took."""
        letters = [self._letter(parcel, link.frame_max) for parcel in parcels]
        link.returned.clear()
        try:
            refused = link.publish(letters)
        except Broken as error:
            raise _unknown(error) from error
        except BrokerUnreachable:
            raise
        except BrokerError as error:
            raise _unknown(error) from error
        unroutable = {one.message_id for one in link.returned}
        return [parcels[place] for place in refused], [one for one in parcels if one.message_id in unroutable]

    def _letter(self, parcel: Parcel, frame_max: int) -> bytes:
        route = self.names.route(parcel.queue, parcel.note.priority, parcel.delay_ms)
        head = frames.publish_head(*route) if route.exchange else _direct(route.routing_key)
        return head + frames.content(parcel.message_id, str(parcel.note), parcel.body.encode(), frame_max)

    def _refused(self, refused: int, of: int) -> Exception:
        text = f"RabbitMQ at {self.address.shown} refused {refused} of {of} messages"
        return BrokerUnreachable(text) if refused == of else _unknown(text)

    def close(self) -> None:
        """Close the connections that nobody uses at this moment; later calls open new ones."""
        while self._free:
            self._free.pop().close()


@lru_cache(maxsize=1000)
def _direct(routing_key: str) -> bytes:
    return frames.publish_head("", routing_key)


def _unknown(error: object) -> EnqueueUnknown:
    return EnqueueUnknown(
        f"{error}. A message was being stored; it may or may not be there. "
        "Sending it again under the same message_id may run it twice."
    )
