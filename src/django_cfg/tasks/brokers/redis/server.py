"""The server as the broker uses it: connections that threads borrow, scripts that they run."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.brokers.redis.keys import Keys
from django_cfg.tasks.brokers.redis.link import Argument, Link, Packed, pack, packed
from django_cfg.tasks.brokers.redis.scripts import Script

#: Combinations of queues; a project has a handful.
MOST_REMEMBERED = 1000
_encode = msgspec.msgpack.Encoder().encode


class Lane:
    """A connection and the numbered calls of the producer that it is.

    Attributes:
        heads: by queue, the part of a command that stores one message which is always the same.
    """

    def __init__(self, url: str) -> None:
        self.link = Link(url)
        self.producer = uuid.uuid4().hex
        self.seq = 0
        self.heads: dict[str, Packed] = {}


class Server:
    """Connections are made when needed, one for each thread that calls at the same time.

    Parameters:
        project: to whom the keys of the prefix belong; empty: nobody asks.
    """

    def __init__(self, url: str, prefix: str, project: str = "") -> None:
        self.url = url
        self.keys = Keys(prefix)
        self._project = project
        self._is_ours = not project
        self._globals = packed(self.keys.globals)
        self._queue_keys: dict[tuple[str, ...], Packed] = {}
        self._free: deque[Lane] = deque()
        self._pid = os.getpid()

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """A connection of one's own for a while."""
        lane = self._borrow()
        try:
            if not self._is_ours:
                self._take_prefix(lane.link)
            yield lane
        finally:
            self._free.append(lane)

    def _borrow(self) -> Lane:
        if self._pid != os.getpid():
            # Two processes on one socket would read each other's answers.
            self._free, self._pid = deque(), os.getpid()
        try:
            return self._free.pop()
        except IndexError:
            return Lane(self.url)

    def _take_prefix(self, link: Link) -> None:
        """Two projects below one prefix would run, and bury, each other's tasks.

        Raises:
            ConfigurationError: the keys belong to another project.
        """
        owner = link.call("GET", self.keys.owner)
        if owner is None:
            link.call("SET", self.keys.owner, self._project, "NX")
            owner = link.call("GET", self.keys.owner) or self._project.encode()
        if text(owner) != self._project:
            raise ConfigurationError(
                f"the keys {self.keys.prefix}:* in Redis at {link.shown} belong to the project {text(owner)!r}, and "
                f"this is {self._project!r}. Give each project a redis_key_prefix or a database number of its own; "
                f"after a change of the project's name: redis-cli DEL {self.keys.owner}"
            )
        self._is_ours = True

    def forget(self) -> None:
        """All keys are gone, and with them the name of their project."""
        self._is_ours = not self._project

    @property
    def database(self) -> int:
        """The number of our database on the server."""
        return self.link().database

    def link(self) -> Link:
        """A connection that nobody else uses, for a blocking read."""
        return Link(self.url)

    def call(self, *arguments: Argument) -> Any:
        with self.lane() as lane:
            return lane.link.call(*arguments)

    def calls(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Several commands in one round trip; none may be refused."""
        if not commands:
            return []
        with self.lane() as lane:
            lane.link.send(b"".join(pack(command) for command in commands), answers=len(commands))
            return [lane.link.receive() for _ in commands]

    def run(self, script: Script, own: Sequence[str], queues: Sequence[str], request: Any) -> Any:
        """Run a script on the global keys, then keys of its own, then those of queues."""
        return self.run_on(script, self.keys_for(own, queues), request)

    def run_on(self, script: Script, keys: Packed, request: Any) -> Any:
        """Run a script on exactly these keys."""
        with self.lane() as lane:
            return lane.link.run(script, keys, pack_request(request))

    def keys_for(self, own: Sequence[str], queues: Sequence[str], more: Iterable[str] = ()) -> Packed:
        """The keys of a script in their order: global, its own, those of queues, then those of results."""
        found = self._globals.then(packed(own)).then(self._of_queues(tuple(queues)))
        return found.then(packed(more)) if more else found

    def _of_queues(self, queues: tuple[str, ...]) -> Packed:
        known = self._queue_keys.get(queues)
        if known is None:
            known = packed(self.keys.of_queues(queues))
            if len(self._queue_keys) < MOST_REMEMBERED:
                self._queue_keys[queues] = known
        return known

    def close(self) -> None:
        """Close the connections that nobody uses at this moment; later calls open new ones."""
        while self._free:
            self._free.pop().link.close()


def pack_request(request: Any) -> bytes:
    """The one argument of a script."""
    return _encode(request)


def text(value: bytes) -> str:
    return value.decode(errors="replace")
