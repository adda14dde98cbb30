"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
POLL_S = 0.01


def eventually(condition: Callable[[], Value], *, within_s: float = 10.0) -> Value:
    """The first true value of `condition`, asked every 10 ms.

    Raises:
        AssertionError: it was not true within `within_s` seconds; shows the last value.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s; last value: {value!r}")
        time.sleep(POLL_S)
    return value
