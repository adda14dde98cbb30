"""Messages go out of JSON as they went in, or are refused with a cure."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.utils.safestring import mark_safe
from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.errors import NotSerializable, PayloadTooLarge
from django_cfg.tasks.brokers import codec

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(SCALARS | TEXT, lambda c: st.lists(c) | st.dictionaries(TEXT, c), max_leaves=20)


def message(*args: Any, **kwargs: Any) -> Message[Any]:
    return Message("default", "task", args, kwargs, {})


@given(st.lists(JSON), st.dictionaries(TEXT, JSON), st.dictionaries(TEXT, JSON))
def test_every_json_value_survives(args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> None:
    sent = Message("default", "task", tuple(args), kwargs, options)
    assert codec.decode(codec.encode(sent)) == sent


@given(st.text() | st.binary())
def test_only_value_errors_come_out_of_undecodable_text(text: str | bytes) -> None:
    try:
        codec.decode(text)
    except ValueError:
        return
    raise AssertionError("random text is no message")


@given(JSON)
def test_any_json_that_is_no_message_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"expected an object|missing or of the wrong type"):
        codec.decode(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (datetime(2026, 1, 1), "datetime is not JSON; pass value.isoformat()"),  # noqa: DTZ001 - any datetime
        (Decimal("1.5"), r"Decimal is not JSON; pass str\(value\)"),
        (uuid4(), "UUID is not JSON"),
        ({1, 2}, "set is not JSON; pass a list"),
        (b"x", "bytes is not JSON; pass base64"),
        (object(), "object is not JSON; pass an id"),
        (float("nan"), "nan is not JSON"),
        (float("inf"), "inf is not JSON"),
        ({1: "a"}, "key 1 is int"),
        ("\udcff", "not Unicode"),
    ],
)
def test_what_json_would_change_is_refused_by_name(value: Any, says: str) -> None:
    with pytest.raises(NotSerializable, match=says):
        codec.encode(message(value))
    with pytest.raises(NotSerializable, match=r"not Unicode|argument 'when' of task"):
        codec.encode(message(when=value))
    with pytest.raises(NotSerializable, match=says):
        codec.encode(message([{"deep": value}]))


class Number(int):
    """An integer of a class of its own."""


@pytest.mark.parametrize(("value", "is_read"), [(mark_safe("<b>&</b>"), "<b>&</b>"), (Number(7), 7)])
def test_a_text_or_number_of_a_class_of_its_own_is_sent_as_what_it_is(value: Any, is_read: Any) -> None:
    read = codec.decode(codec.encode(message(value, [{"deep": value}], body=value)))
    assert (read.args, read.kwargs) == ((is_read, [{"deep": is_read}]), {"body": is_read})
    assert {type(read.args[0]), type(read.kwargs["body"])} == {type(is_read)}


def test_the_place_of_a_nested_value_is_named() -> None:
    with pytest.raises(NotSerializable, match=r"argument 2 of task\[0\]\['a'\]: set"):
        codec.encode(message(1, [{"a": {1}}]))


def test_structures_deeper_than_the_limit_are_refused_and_not_a_recursion_error() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(NotSerializable, match=r"nested deeper than 100"):
        codec.encode(message(deep))
    with pytest.raises(ValueError, match=r"not JSON|missing"):
        codec.decode("[" * 200_000)


def test_a_payload_is_measured_in_bytes_and_the_limit_is_inclusive() -> None:
    size = len(codec.encode(message("ä" * 1000)).encode())
    codec.encode(message("ä" * 1000), limit=size)
    with pytest.raises(PayloadTooLarge, match=f"{size:,} bytes, above max_payload_bytes"):
        codec.encode(message("ä" * 1000), limit=size - 1)
