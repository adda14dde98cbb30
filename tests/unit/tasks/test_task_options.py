"""Options of `@task` are refused where they are written: a wrong one that is found later keeps every task waiting."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from django_cfg.tasks import compat, task

SECONDS = "must be a number of seconds from 0.001 on, got"
BACKOFF = "backoff must be seconds from 0 on, or a function, got"


def plain(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        *[("timeout", value, f"timeout {SECONDS} {value!r}") for value in (math.inf, math.nan, 0, "5", timedelta(1))],
        *[("expires", value, f"expires {SECONDS} {value!r}") for value in (math.inf, -1, True, timedelta(1))],
        *[("backoff", value, f"{BACKOFF} {value!r}") for value in (math.inf, math.nan, -1, True, "5", timedelta(1))],
        ("max_attempts", 0, "max_attempts must be a whole number from 1 on, got 0"),
        ("max_attempts", 2.0, "max_attempts must be a whole number from 1 on, got 2.0"),
        ("queue", 5, "queue must be the name of a queue, got 5"),
        ("queue_name", "", "queue must be the name of a queue, got ''"),
        ("enqueue_on_commit", "yes", "enqueue_on_commit must be True, False or None, got 'yes'"),
        ("time_limit", 0.5, "time_limit must be a whole number from 1 on, got 0.5"),
    ],
)
def test_a_wrong_option_is_refused_by_name(option: str, value: Any, text: str) -> None:
    with pytest.raises(compat.InvalidTask) as caught:
        task(**{option: value})(plain)
    assert str(caught.value) == f"task plain: {text}"
