"""Outcomes as bytes for the ledger, and back. Exact: what is sent for a dead process is what it would have sent."""

from __future__ import annotations

import struct
from dataclasses import astuple
from typing import Any

import msgspec
from dramatiq import Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Claim, Failure, FollowUp, Outcome, ResultEntry
from django_cfg.tasks.lifecycle import Kind

#: What an outcome may hold that is no data; no store takes it.
UNPACKABLE = (TypeError, ValueError, OverflowError, RecursionError)
#: time to live, wait and run (ms)
_value = struct.Struct("=qdd")
_encoder = msgspec.msgpack.Encoder(enc_hook=codec.plain)
_decoder = msgspec.msgpack.Decoder()


def pack_value(outcome: Outcome) -> bytes:
    """A success with a result and nothing else, as most outcomes with a result are.

    Raises:
        one of `UNPACKABLE`: what the task returned is no data.
    """
    result = outcome.result
    assert result is not None
    return _value.pack(round(result.ttl_ms), outcome.wait_ms, outcome.run_ms) + result.text.encode()


def unpack_value(claim: Claim, data: bytes, retries: int) -> Outcome:
    """The way back, with what its slot says of earlier attempts."""
    ttl_ms, wait_ms, run_ms = _value.unpack_from(data)
    result = ResultEntry(codec.loads(data[_value.size :]), ttl_ms)
    return Outcome(
        claim, Kind.DONE, claim.message, result=result, wait_ms=wait_ms, run_ms=run_ms, retries_before=retries
    )


def pack(outcome: Outcome) -> bytes:
    """Everything but the claim. The message of a success is not needed any more.

    Raises:
        one of `UNPACKABLE`: it holds what is no data.
    """
    failure, result = outcome.failure, outcome.result
    return _encoder.encode(
        (
            str(outcome.kind),
            None if outcome.kind is Kind.DONE else outcome.message.asdict(),
            outcome.delay_ms,
            [(item.message.asdict(), item.delay_ms) for item in outcome.follow_ups],
            None if result is None else (result.text, result.ttl_ms),
            None if failure is None else astuple(failure),
            outcome.reason,
            (outcome.wait_ms, outcome.run_ms, outcome.started, outcome.retries_before),
        )
    )


def unpack(claim: Claim, data: bytes) -> Outcome:
    """The outcome of a claim from its bytes."""
    kind, message, delay_ms, follow_ups, result, failure, reason, rest = _decoder.decode(data)
    wait_ms, run_ms, started, retries_before = rest
    return Outcome(
        claim=claim,
        kind=Kind(kind),
        message=claim.message if message is None else _message(message),
        delay_ms=delay_ms,
        follow_ups=tuple(FollowUp(_message(fields), delay) for fields, delay in follow_ups),
        result=None if result is None else ResultEntry(codec.loads(result[0]), result[1]),
        failure=None if failure is None else Failure(*failure),
        reason=reason,
        wait_ms=wait_ms,
        run_ms=run_ms,
        started=started,
        retries_before=retries_before,
    )


def _message(fields: dict[str, Any]) -> Message[Any]:
    return Message(**{**fields, "args": tuple(fields["args"])})
