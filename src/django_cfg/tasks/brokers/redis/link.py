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
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.redact import redact_url
from django_cfg.tasks.brokers.redis.scripts import Script
from django_cfg.tasks.brokers.redis.sentinel import watched

Argument = str | bytes | int
TIMEOUT_S = 5.0
#: The server answers, but not now: it is full, has become a replica, or runs a script for too long.
MOST_MOVES = 3
NOT_NOW = (
    "AskError",
    "MovedError",
    "OOM",
    "READONLY",
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "NOREPLICAS",
)


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
        found = watched(url)
        self._watched = found[0] if found else None
        written: dict[str, Any] = parse_url(found[1] if found else url)  # type: ignore[no-untyped-call]  # not annotated upstream
        given = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, **written}
        made = given.pop("connection_class", Connection)
        for name in ("max_connections", "retry_on_timeout", "health_check_interval"):
            given.pop(name, None)
        self.shown = redact_url(url)
        self.database = int(given.get("db", 0))
        self._connection = made(**{**given, "protocol": 2, "retry": Retry(NoBackoff(), 0)})
        self._home = self._address()
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
            if self._watched is not None and self._connection._sock is None:
                # After a failover it is another server; who is not the primary any more refuses writes.
                self._connection.host, self._connection.port = self._watched.primary(TIMEOUT_S / 5)
            self._connection.connect()
        except (RedisError, OSError) as error:
            self._go(*self._home)  # the node of a cluster that we were sent to may be gone
            raise self._no_connection(error) from error

    def _no_connection(self, error: Exception) -> BrokerError:
        if isinstance(error, AuthenticationError):
            return BrokerError(f"Redis at {self.shown} refuses us: {error}")
        if isinstance(error, ResponseError):
            return BrokerError(f"Redis at {self.shown}: {error}")
        return BrokerUnreachable(f"Redis at {self.shown} does not answer: {error}")

    def _address(self) -> tuple[str, int]:
        return getattr(self._connection, "host", ""), getattr(self._connection, "port", 0)

    def _go(self, host: str, port: int) -> None:
        """The next connection is one to this server."""
        if self._address() != (host, port):
            self.close()
            self._connection.host, self._connection.port = host, port

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
        except MovedError as error:
            self._go(error.host or self._address()[0], error.port)
            raise
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

    def number(self, command: Packed, moves: int = MOST_MOVES) -> int:
        """One command that the server answers with a whole number; quicker than any other way.

        It does not look whether the server has closed the connection: only for calls that may be repeated.

        Raises:
            NoScriptError: the server does not know the script.
        """
        if self._owed:
            self.close()
        self.connect()
        self._owed = 1
        try:
            answer = self._line(_command(command))
        except OSError as error:
            raise Broken(f"the connection to Redis at {self.shown} broke: {error}") from error
        self._owed = 0
        if answer.startswith(b":"):
            return int(answer[1:])
        if answer.startswith(b"-NOSCRIPT"):
            raise NoScriptError(answer.decode())
        if answer.startswith(b"-MOVED ") and moves:
            host, _, port = answer.split()[2].decode().rpartition(":")
            self._go(host or self._address()[0], int(port))
            return self.number(command, moves - 1)
        raise self._refusal(ResponseError(answer[1:].decode(errors="replace")))

    def _line(self, command: bytes) -> bytes:
        connection = self._connection._sock
        connection.sendall(command)
        answer: bytes = connection.recv(4096)
        while not answer.endswith(b"\r\n"):
            more = connection.recv(4096)
            if not more:
                raise ConnectionResetError("closed by the server")
            answer += more
        return answer

    def _exchange(self, command: bytes, moves: int = MOST_MOVES) -> Any:
        self.send(command)
        try:
            return self.receive()
        except MovedError as error:
            if not moves:
                raise self._refusal(error) from error
            return self._exchange(command, moves - 1)  # the server that answered has done nothing
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
