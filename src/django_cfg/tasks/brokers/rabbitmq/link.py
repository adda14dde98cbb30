"""One connection to a RabbitMQ server with one channel, driven by whoever owns it: no thread, no callbacks.

Pika knows the protocol's table of methods; the loop around it is ours, because many calls and publishes go out
at once here, and because an exchange thread waits for the server and for its own task threads in one place.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pika import spec

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.tasks.brokers.rabbitmq import frames
from django_cfg.tasks.brokers.rabbitmq.address import Address
from django_cfg.tasks.brokers.rabbitmq.frames import CHANNEL, Confirm, Delivery, Reader, Returned

OLDEST = (3, 10)
READ_BYTES = 65_536
FRAME_MAX = 131_072
#: So many messages leave before their confirms are looked at, and so many may be without one.
BATCH, WINDOW = 200, 2_000
#: A dead peer is noticed after 30 + 3 x 10 seconds also while nobody sends.
KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
CLIENT = {
    "product": "django-cfg-tasks",
    "capabilities": {
        "publisher_confirms": True,
        "consumer_cancel_notify": True,
        "basic.nack": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
    },
}


class Broken(BrokerUnreachable):
    """The connection broke after something had been sent: carried out or not, nobody knows."""


class Blocked(BrokerUnreachable):
    """The server takes no messages now (memory or disk alarm)."""


class Link:
    """A connection that is opened when it is first used, and again after it broke. Not for two threads at once.

    Parameters:
        heartbeat_s: how often both sides must be heard; 0: TCP alone notices a dead peer.
    """

    def __init__(self, address: Address, heartbeat_s: int = 0) -> None:
        self.address = address
        self.deliveries: deque[Delivery] = deque()
        self.returned: list[Returned] = []
        self.is_blocked = False
        self.frame_max = FRAME_MAX
        self.heartbeat_s = 0
        self._wanted_heartbeat_s = heartbeat_s
        self._socket: socket.socket | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._reader = Reader()
        self._replies: deque[Any] = deque()
        self._number = 0
        self._awaited: dict[int, None] = {}
        self._refused: set[int] = set()
        self.deliveries.clear()
        self.returned.clear()
        self.is_blocked = False
        self._sent_at = self._heard_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    # -- opening and closing ---------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection if it is not.

        Raises:
            BrokerUnreachable: nobody answers there.
            BrokerError: somebody does, and refuses us.
        """
        if self._socket is not None:
            return
        self._start_over()
        try:
            self._socket = self._dial()
            self._shake_hands()
        except (OSError, Broken) as error:
            self.drop()
            raise BrokerUnreachable(f"RabbitMQ at {self.address.shown} does not answer: {error}") from error
        except BaseException:
            self.drop()
            raise

    def _dial(self) -> socket.socket:
        place = (self.address.host, self.address.port)
        plain = socket.create_connection(place, timeout=self.address.timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE:
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if not self.address.is_tls:
            return plain
        return self.address.tls_context().wrap_socket(plain, server_hostname=self.address.host)

    def _shake_hands(self) -> None:
        self.send(frames.GREETING)
        start = self._reply(spec.Connection.Start)
        self._refuse_old(start.server_properties or {})
        response = f"\0{self.address.user}\0{self.address.password}"
        tune = self.call(spec.Connection.StartOk(CLIENT, "PLAIN", response, "en_US"), spec.Connection.Tune, channel=0)
        self.frame_max = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
        self.heartbeat_s = self._wanted_heartbeat_s
        self.send(frames.method(0, spec.Connection.TuneOk(tune.channel_max, self.frame_max, self.heartbeat_s)))
        self.call(spec.Connection.Open(self.address.virtual_host), spec.Connection.OpenOk, channel=0)
        self.call(spec.Channel.Open(), spec.Channel.OpenOk)
        self.call(spec.Confirm.Select(), spec.Confirm.SelectOk)

    def _refuse_old(self, server: dict[str, Any]) -> None:
        version = server.get("version", "")
        numbers = tuple(int(part) for part in str(version).split(".")[:2] if part.isdecimal())
        if server.get("product") == "RabbitMQ" and numbers < OLDEST:
            raise BrokerError(
                f"RabbitMQ {version} at {self.address.shown} is too old: 3.10 or newer is needed "
                "(quorum queues with a time to live)"
            )

    def close(self) -> None:
        """Say good-bye: the server gives unsettled messages back at once."""
        if self._socket is None:
            return
        try:
            self.call(spec.Connection.Close(200, "bye", 0, 0), spec.Connection.CloseOk, channel=0)
        except BrokerError:
            pass  # it has ended already, which is what was wanted
        self.drop()

    def drop(self) -> None:
        """Let go of the socket without a word."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- out -------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self._socket is None:
            raise Broken(f"the connection to RabbitMQ at {self.address.shown} is closed")
        try:
            self._socket.settimeout(self.address.timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise self._broken(error) from error
        self._sent_at = time.monotonic()

    def call(self, request: Any, *expected: type, channel: int = CHANNEL) -> Any:
        """One method and its answer.

        Raises:
            BrokerError: the server refused.
            Broken: no answer.
        """
        self.send(frames.method(channel, request))
        return self._reply(*expected)

    def got(self) -> Delivery | None:
        """The answer to a `basic.get`: a message, or None for an empty queue."""
        self._wait(lambda: bool(self._replies or self.deliveries))
        if self.deliveries:
            return self.deliveries.popleft()
        self._replies.popleft()
        return None

    def calls(self, requests: Iterable[tuple[Any, type]]) -> list[Any]:
        """Several methods in one round trip; their answers in the same order."""
        pairs = list(requests)
        if not pairs:
            return []
        self.send(b"".join(frames.method(CHANNEL, request) for request, _ in pairs))
        return [self._reply(expected) for _, expected in pairs]

    def publish(self, letters: Sequence[bytes]) -> list[int]:
        """Send messages and wait for the server's word about each; returns the places of those it did not store.

        Raises:
            Blocked: nothing was sent.
            Broken: it may have stored any of them.
        """
        self._wait_until_open()
        first = self._number + 1
        for start in range(0, len(letters), BATCH):
            batch = letters[start : start + BATCH]
            self._awaited.update(dict.fromkeys(range(self._number + 1, self._number + 1 + len(batch))))
            self._number += len(batch)
            self.send(b"".join(batch))
            self.pump(0)
            self._wait(lambda: len(self._awaited) <= WINDOW)
        self._wait(lambda: not self._awaited)
        refused, self._refused = self._refused, set()
        return sorted(number - first for number in refused)

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + self.address.blocked_timeout_s
        while self.is_blocked:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Blocked(f"RabbitMQ at {self.address.shown} takes no messages now (memory or disk alarm)")
            self.pump(left_s)

    # -- in --------------------------------------------------------------------------------------------

    def _reply(self, *expected: type) -> Any:
        self._wait(lambda: bool(self._replies))
        answer = self._replies.popleft()
        if not isinstance(answer, expected):
            raise self._broken(f"unexpected {type(answer).__qualname__}")
        return answer

    def _wait(self, is_there: Callable[[], bool]) -> None:
        deadline = 0.0
        while not is_there():
            now = time.monotonic()
            deadline = deadline or now + self._patience_s
            if now >= deadline:
                raise self._broken("no answer in time" + (" (memory or disk alarm)" if self.is_blocked else ""))
            self.pump(deadline - now)

    @property
    def _patience_s(self) -> float:
        return max(self.address.timeout_s, self.address.blocked_timeout_s if self.is_blocked else 0)

    def pump(self, timeout_s: float) -> bool:
        """Take in what the server sends, waiting for its first byte; False if there was nothing.

        Raises:
            Broken: the connection has ended.
            BrokerError: the server ended it and says why.
        """
        link = self._socket
        if link is None:
            raise Broken(f"the connection to RabbitMQ at {self.address.shown} is closed")
        try:
            link.settimeout(timeout_s)
            data = link.recv(READ_BYTES)
            while data and isinstance(link, ssl.SSLSocket) and link.pending():
                data += link.recv(READ_BYTES)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise self._broken(error) from error
        if not data:
            raise self._broken("closed by the other side")
        self._heard_at = time.monotonic()
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        try:
            found = self._reader.feed(data)
        except (ValueError, KeyError) as error:
            raise self._broken(error) from error
        for one in found:
            kind = type(one)
            if kind is Delivery:
                self.deliveries.append(one)
            elif kind is Confirm:
                self._confirm(one)
            elif kind is Returned:
                self.returned.append(one)
            else:
                self._method(one)

    def _confirm(self, word: Confirm) -> None:
        numbers = [n for n in self._awaited if n <= word.number] if word.is_multiple else [word.number]
        for number in numbers:
            self._awaited.pop(number, None)
            if not word.is_stored:
                self._refused.add(number)

    def _method(self, call: Any) -> None:
        match call:
            case spec.Connection.Close() | spec.Channel.Close():
                raise self._closed(call)
            case spec.Connection.Blocked():
                self.is_blocked = True
            case spec.Connection.Unblocked():
                self.is_blocked = False
            case spec.Basic.Cancel():
                raise self._broken("the server cancelled a consumer: its queue was deleted or moved")
            case spec.Basic.GetOk():
                pass  # comes as a Delivery
            case _:
                self._replies.append(call)

    def _closed(self, call: Any) -> BrokerError:
        self.drop()
        text = f"RabbitMQ at {self.address.shown}: {call.reply_code} {call.reply_text}"
        if call.reply_code in (320, 541):  # shut down by an operator, internal error
            return Broken(text)
        if HELD_TOO_LONG.search(call.reply_text):
            return Broken(f"{text}; set consumer_timeout in rabbitmq.conf above your longest time_limit")
        return BrokerError(text + CURES.get(call.reply_code, ""))

    def _broken(self, reason: object) -> Broken:
        self.drop()
        return Broken(f"the connection to RabbitMQ at {self.address.shown} broke: {reason}")

    # -- staying alive ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Take in what is there, and let the server hear us in time.

        Raises:
            Broken: it was not heard for two heartbeats.
        """
        while self.pump(0):
            pass
        if not self.heartbeat_s:
            return
        now = time.monotonic()
        if now - self._heard_at > 2 * self.heartbeat_s:
            raise self._broken(f"silent for {now - self._heard_at:.0f} s")
        if now - self._sent_at > self.heartbeat_s / 3:
            self.send(frames.HEARTBEAT)


#: The same code as for a queue with other properties, and no fault of ours.
HELD_TOO_LONG = re.compile("acknowledg.* timed out")
CURES = {
    403: "; check user, password and the user's permissions on the virtual host",
    406: "; a queue or exchange of that name exists with other properties: delete it when it is empty, or choose "
    "another rabbitmq_prefix",
    530: "; create the virtual host and give the user permissions, or name another one in the URL",
}
