"""One connection to a Redis server: a command out, its answer back, nothing repeated in secret.

The client library repeats commands by itself when a connection breaks; a command that changes something must
not run twice, so only those who know that a repetition is harmless repeat here.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Any, NamedTuple

from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.redact import redact_url
from django_cfg.tasks.brokers.redis.scripts import Script

Argument = str | bytes | int
TIMEOUT_S = 5.0
#: The server answers, but not now: it is full, has become a replica, or runs a script for too long.
NOT_NOW = ("OOM", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "NOREPLICAS")


class Broken(BrokerUnreachable):
    """The connection broke after a command had been sent: carried out or not, nobody knows."""


class Packed(NamedTuple):
    """Arguments in Redis' wire form, to be put together: packing the same keys for each call is what costs."""

    number: int
    data: bytes

    def then(self, other: Packed) -> Packed:
        return Packed(self.number + other.number, self.data + other.data)


def packed(arguments: Iterable[Argument]) -> Packed:
    parts = []
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return Packed(len(parts), b"".join(parts))


def pack(arguments: Iterable[Argument]) -> bytes:
    """A whole command."""
    return _command(packed(arguments))


def _command(arguments: Packed) -> bytes:
    return b"*%d\r\n" % arguments.number + arguments.data


class Link:
    """A connection that is opened when it is first used, and again after it broke. Not for two threads at once."""

    def __init__(self, url: str) -> None:
        written: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # not annotated upstream
        given = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, **written}
        made = given.pop("connection_class", Connection)
        for name in ("max_connections", "retry_on_timeout", "health_check_interval"):
            given.pop(name, None)
        self.shown = redact_url(url)
        self._connection = made(**{**given, "protocol": 2, "retry": Retry(NoBackoff(), 0)})
        #: Answers that nobody has read: a time limit may end a task between its command and the answer.
        self._owed = 0

    def _was_ended(self) -> bool:
        """Whether the server closed the connection while nobody used it, so that nothing can be under way."""
        if self._connection._sock is None:
            return False
        readable, _, _ = select.select([self._connection._sock], [], [], 0)
        return bool(readable)

    def connect(self) -> None:
        """Open the connection if it is not.

        Raises:
            BrokerUnreachable: nobody answers there.
            BrokerError: somebody does, and refuses us.
        """
        try:
            self._connection.connect()
        except AuthenticationError as error:
            raise BrokerError(f"Redis at {self.shown} refuses us: {error}") from error
        except ResponseError as error:
            raise BrokerError(f"Redis at {self.shown}: {error}") from error
        except (RedisError, OSError) as error:
            raise BrokerUnreachable(f"Redis at {self.shown} does not answer: {error}") from error

    def send(self, command: bytes, answers: int = 1) -> None:
        """Send packed commands; `receive` reads their answers, one each."""
        if self._owed or self._was_ended():
            self.close()
        self.connect()
        self._owed = answers
        try:
            self._connection.send_packed_command([command], check_health=False)
        except (RedisError, OSError) as error:
            raise Broken(f"the connection to Redis at {self.shown} broke: {error}") from error

    def receive(self) -> Any:
        """The answer to the oldest command that has none.

        Raises:
            ResponseError: the server refused the command.
        """
        try:
            answer = self._connection.read_response()
        except ResponseError:
            self._owed -= 1
            raise
        except (RedisError, OSError) as error:
            raise Broken(f"Redis at {self.shown} did not answer: {error}") from error
        self._owed -= 1
        return answer

    def call(self, *arguments: Argument) -> Any:
        """One command and its answer; only for commands that may run twice without harm."""
        command = pack(arguments)
        try:
            return self._exchange(command)
        except Broken:
            return self._exchange(command)

    def run(self, script: Script, keys: Packed, request: bytes) -> Any:
        """One script and its answer; the server gets the script itself where it does not know it yet."""
        rest = keys.then(packed((request,)))
        try:
            return self._exchange(_command(packed(("EVALSHA", script.sha, keys.number)).then(rest)))
        except NoScriptError:
            return self._exchange(_command(packed(("EVAL", script.text, keys.number)).then(rest)))

    def _exchange(self, command: bytes) -> Any:
        self.send(command)
        try:
            return self.receive()
        except NoScriptError:
            raise
        except ResponseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: ResponseError) -> BrokerError:
        text = f"Redis at {self.shown} refused: {error}"
        if any(word in f"{type(error).__name__} {error}" for word in (*NOT_NOW, "OutOfMemory", "ReadOnly")):
            self.close()  # after a failover the name may lead to another server
            return BrokerUnreachable(text)
        return BrokerError(text)

    def fileno(self) -> int:
        """The socket, to wait for an answer with `select`."""
        self.connect()
        return int(self._connection._sock.fileno())

    def close(self) -> None:
        self._owed = 0
        self._connection.disconnect()
