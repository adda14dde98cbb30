"""Messages as JSON: fast, and exact about what is not JSON.

`msgspec` writes and reads. What it (or JSON itself) would change in silence is refused before: NaN, sets,
Decimals, integer keys, and structures deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import math
from typing import Any, TypedDict

import msgspec
from dramatiq import Message

from django_cfg.errors import NotSerializable, PayloadTooLarge

MAX_DEPTH = 100
CURES = {
    "datetime": "pass value.isoformat()",
    "date": "pass value.isoformat()",
    "time": "pass value.isoformat()",
    "timedelta": "pass value.total_seconds()",
    "Decimal": "pass str(value)",
    "UUID": "pass str(value)",
    "set": "pass a list",
    "frozenset": "pass a list",
    "bytes": "pass base64 text, or store the data and pass its key",
}


def plain(value: Any) -> Any:
    """A text or number of a class of its own, like the `SafeString` of a rendered template, as what it is in JSON.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(enc_hook=plain)
_decoder = msgspec.json.Decoder()


def dumps(value: Any) -> str:
    return _encoder.encode(value).decode()


def loads(text: str | bytes) -> Any:
    return _decoder.decode(text)


def encode(message: Message[Any], *, limit: int | None = None) -> str:
    """The message as JSON text.

    Raises:
        NotSerializable: an argument is not JSON; the error names it.
        PayloadTooLarge: the text is longer than `limit` bytes (None: no limit).
    """
    for position, value in enumerate(message.args):
        check(value, f"argument {position + 1} of {message.actor_name}")
    for name, value in message.kwargs.items():
        check(value, f"argument {name!r} of {message.actor_name}")
    for name, value in message.options.items():
        check(value, f"option {name!r} of {message.actor_name}")
    try:
        data = _encoder.encode(_fields(message))
    except UnicodeEncodeError as error:
        raise NotSerializable(
            f"the message for {message.actor_name} holds text that is not Unicode ({error.reason}); "
            "pass text.encode('utf-8', 'replace').decode()"
        ) from None
    if limit is not None and len(data) > limit:
        raise PayloadTooLarge(
            f"the message for {message.actor_name} has {len(data):,} bytes, above max_payload_bytes "
            f"({limit:,}); store the data and send its key"
        )
    return data.decode()


def _fields(message: Message[Any]) -> dict[str, Any]:
    """What `message.asdict()` gives, without looking the fields up each time."""
    return {
        "queue_name": message.queue_name,
        "actor_name": message.actor_name,
        "args": message.args,
        "kwargs": message.kwargs,
        "options": message.options,
        "message_id": message.message_id,
        "message_timestamp": message.message_timestamp,
    }


def decode(text: str | bytes) -> Message[Any]:
    """The message in a stored text.

    Raises:
        ValueError: the text is not JSON or not a message; the error says what is wrong with it.
    """
    try:
        fields = _stored.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _decode_odd(text)
    message: Message[Any] = object.__new__(Message)
    # A frozen dataclass sets each field by a call; this is done for every task that runs.
    object.__setattr__(message, "__dict__", fields)
    return message


def _decode_odd(text: str | bytes) -> Message[Any]:
    """A text that is no message as we write it: it may still be one, or the error says what is wrong."""
    try:
        fields = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, got {type(fields).__name__}")
    for name, kind in _SHAPE.items():
        if not isinstance(fields.get(name), kind):
            raise ValueError(f"field {name!r} is missing or of the wrong type")
    return Message(
        queue_name=fields["queue_name"],
        actor_name=fields["actor_name"],
        args=tuple(fields["args"]),
        kwargs=fields["kwargs"],
        options=fields["options"],
        message_id=fields["message_id"],
        message_timestamp=fields["message_timestamp"],
    )


class _Stored(TypedDict):
    """What a message is in JSON."""

    queue_name: str
    actor_name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    message_id: str
    message_timestamp: int | float


_stored = msgspec.json.Decoder(_Stored)
_SHAPE: dict[str, type | tuple[type, ...]] = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": (int, float),
}

_SCALARS = frozenset({str, int, bool, type(None)})


def check(value: Any, place: str, depth: int = 0) -> None:
    """Refuse what would not come out of JSON as it went in (tuples become lists, as Dramatiq's users know).

    Raises:
        NotSerializable: naming `place`, the type and the cure.
    """
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is float:
        if not math.isfinite(value):
            raise NotSerializable(f"{place}: {value} is not JSON; pass None or a string")
        return
    if depth >= MAX_DEPTH:
        raise NotSerializable(f"{place}: nested deeper than {MAX_DEPTH} levels; store it and pass its key")
    if isinstance(value, dict):
        _check_mapping(value, place, depth)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check(item, f"{place}[{index}]" if depth < 3 else place, depth + 1)
    elif not isinstance(value, str | int):
        cure = CURES.get(kind.__name__, "pass an id or plain values")
        raise NotSerializable(f"{place}: {kind.__name__} is not JSON; {cure}")


def _check_mapping(value: dict[Any, Any], place: str, depth: int) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotSerializable(
                f"{place}: key {key!r} is {type(key).__name__}; JSON keys are strings, so pass str(key)"
            )
        check(item, f"{place}[{key!r}]" if depth < 3 else place, depth + 1)
