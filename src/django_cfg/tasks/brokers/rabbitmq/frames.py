"""AMQP 0-9-1 frames. Messages, their settling and confirms by hand, because every task needs them; the rest by pika."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pika import spec

GREETING = b"AMQP\x00\x00\x09\x01"
END = b"\xce"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
METHOD, HEADER, BODY = 1, 2, 3
CHANNEL = 1
#: What a frame needs beside its payload.
OVERHEAD = 8
_HEAD = struct.Struct(">BHI")
_INDEX = struct.Struct(">I")
_CONTENT = struct.Struct(">HHQH")
_SETTLE = struct.Struct(">BHIIQB")
_LONG = struct.Struct(">Q")
DELIVER, RETURN, GET_OK = spec.Basic.Deliver.INDEX, spec.Basic.Return.INDEX, spec.Basic.GetOk.INDEX
ACK, NACK = spec.Basic.Ack.INDEX, spec.Basic.Nack.INDEX
#: Properties in the order of their flags, from bit 15 down; how each is stored.
_SHORT, _TABLE, _OCTET = range(3)
_PROPERTIES = (
    ("content_type", _SHORT),
    ("content_encoding", _SHORT),
    ("headers", _TABLE),
    ("delivery_mode", _OCTET),
    ("priority", _OCTET),
    ("correlation_id", _SHORT),
    ("reply_to", _SHORT),
    ("expiration", _SHORT),
    ("message_id", _SHORT),
)
#: content_type, delivery_mode, correlation_id and message_id are set.
_OURS = 1 << 15 | 1 << 12 | 1 << 10 | 1 << 7
_JSON_PERSISTENT = b"\x10application/json\x02"


@dataclass(slots=True)
class Delivery:
    """A message as the server sent it."""

    consumer: str
    tag: int
    is_redelivered: bool
    routing_key: str
    note: str = ""
    message_id: str = ""
    body: bytes = b""


class Confirm(NamedTuple):
    """The server's word about what we published: up to, or exactly, this number."""

    number: int
    is_multiple: bool
    is_stored: bool


class Returned(NamedTuple):
    """A message that no queue took."""

    message_id: str
    routing_key: str


def method(channel: int, call: Any) -> bytes:
    """Any method of pika's table as a frame."""
    payload = _INDEX.pack(call.INDEX) + b"".join(call.encode())
    return _HEAD.pack(METHOD, channel, len(payload)) + payload + END


def short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def publish_head(exchange: str, routing_key: str) -> bytes:
    """The method frame of a mandatory publish."""
    payload = _INDEX.pack(spec.Basic.Publish.INDEX) + b"\x00\x00" + short(exchange) + short(routing_key) + b"\x01"
    return _HEAD.pack(METHOD, CHANNEL, len(payload)) + payload + END


def content(message_id: str, note: str, body: bytes, frame_max: int) -> bytes:
    """Header and body frames of a persistent message."""
    payload = _CONTENT.pack(60, 0, len(body), _OURS) + _JSON_PERSISTENT + short(note) + short(message_id)
    head = _HEAD.pack(HEADER, CHANNEL, len(payload)) + payload + END
    room = frame_max - OVERHEAD
    if not body:
        return head
    if len(body) <= room:
        return head + _HEAD.pack(BODY, CHANNEL, len(body)) + body + END
    parts = [body[start : start + room] for start in range(0, len(body), room)]
    return head + b"".join(_HEAD.pack(BODY, CHANNEL, len(part)) + part + END for part in parts)


def ack(tag: int, *, multiple: bool = False) -> bytes:
    return _SETTLE.pack(METHOD, CHANNEL, 13, ACK, tag, multiple) + END


def requeue(tags: Iterable[int]) -> bytes:
    """Back to their queue."""
    return b"".join(_SETTLE.pack(METHOD, CHANNEL, 13, NACK, tag, 2) + END for tag in tags)


class Reader:
    """Frames out of a stream of bytes, put together to what they mean."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._open: Delivery | Returned | None = None
        self._missing = 0

    def feed(self, data: bytes) -> list[Any]:
        """What is complete now: `Delivery`, `Confirm`, `Returned`, or a method of pika's table.

        Raises:
            ValueError: this is no AMQP.
        """
        found: list[Any] = []
        stream = self._data
        stream += data
        start, length = 0, len(stream)
        while length - start >= OVERHEAD:
            kind, _, size = _HEAD.unpack_from(stream, start)
            end = start + 7 + size
            if end >= length:
                break
            if stream[end] != 0xCE:
                raise ValueError("a frame does not end where it should")
            if kind == METHOD:
                self._method(bytes(stream[start + 7 : end]), found)
            elif kind == HEADER:
                self._header(bytes(stream[start + 7 : end]), found)
            elif kind == BODY:
                self._body(bytes(stream[start + 7 : end]), found)
            start = end + 1
        del stream[:start]
        return found

    def _method(self, payload: bytes, found: list[Any]) -> None:
        (index,) = _INDEX.unpack_from(payload)
        if index == DELIVER:
            self._open = _deliver(payload)
        elif index in (ACK, NACK):
            (number,) = _LONG.unpack_from(payload, 4)
            found.append(Confirm(number, bool(payload[12] & 1), index == ACK))
        else:
            call = spec.methods[index]()
            call.decode(payload, 4)
            if index == RETURN:
                self._open = Returned("", call.routing_key)
            elif index == GET_OK:
                self._open = Delivery("", call.delivery_tag, call.redelivered, call.routing_key)
            else:
                found.append(call)

    def _header(self, payload: bytes, found: list[Any]) -> None:
        _, _, size, flags = _CONTENT.unpack_from(payload)
        note, message_id = _note_and_id(payload, flags)
        if isinstance(self._open, Delivery):
            self._open.note, self._open.message_id = note, message_id
        elif self._open is not None:
            self._open = self._open._replace(message_id=message_id)
        self._missing = size
        if not size:
            self._close(found)

    def _body(self, payload: bytes, found: list[Any]) -> None:
        if isinstance(self._open, Delivery):
            self._open.body = self._open.body + payload if self._open.body else payload
        self._missing -= len(payload)
        if self._missing <= 0:
            self._close(found)

    def _close(self, found: list[Any]) -> None:
        found.append(self._open)
        self._open = None


def _deliver(payload: bytes) -> Delivery:
    end = 5 + payload[4]
    consumer = payload[5:end].decode()
    (tag,) = _LONG.unpack_from(payload, end)
    exchange = end + 10 + payload[end + 9]
    return Delivery(consumer, tag, bool(payload[end + 8]), payload[exchange + 1 :].decode())


def _note_and_id(payload: bytes, flags: int) -> tuple[str, str]:
    """The two properties that we read; foreign messages may have any others."""
    place, found = 14, {"correlation_id": "", "message_id": ""}
    for bit, (name, kind) in enumerate(_PROPERTIES):
        if not flags & 1 << 15 - bit:
            continue
        if kind == _SHORT:
            end = place + 1 + payload[place]
            if name in found:
                found[name] = payload[place + 1 : end].decode(errors="replace")
            place = end
        elif kind == _TABLE:
            place += 4 + _INDEX.unpack_from(payload, place)[0]
        else:
            place += 1
    return found["correlation_id"], found["message_id"]
