"""Options have known names, types and ranges, and a message cannot exceed its task."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.errors import InvalidTaskOption
from django_cfg.tasks.brokers import options

KNOWN = frozenset({"max_retries", "time_limit", "on_success"})


@pytest.mark.parametrize("name", sorted(options.LOWEST))
@pytest.mark.parametrize("value", ["5", True, 1.5, -1])
def test_a_wrong_value_names_task_and_option(name: str, value: Any) -> None:
    with pytest.raises(InvalidTaskOption, match=f"task mail: {name} must be"):
        options.check_task("mail", {name: value}, 0)


def test_the_lowest_values_none_and_an_endless_time_limit_are_accepted() -> None:
    options.check_task("mail", dict(options.LOWEST), 0)
    options.check_task("mail", dict.fromkeys(options.LOWEST), -5)
    options.check_task("mail", {"time_limit": math.inf}, 0)


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(InvalidTaskOption, match=r"min_backoff 5 ms is above max_backoff 4 ms"):
        options.check_task("mail", {"min_backoff": 5, "max_backoff": 4}, 0)


@pytest.mark.parametrize("priority", ["high", True, 1.0, None, 40_000])
def test_a_priority_is_an_integer(priority: Any) -> None:
    with pytest.raises(InvalidTaskOption, match=r"priority must be an integer"):
        options.check_task("mail", {}, priority)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidTaskOption, match=r"unknown option 'max_retry'; did you mean 'max_retries'"):
        options.check_send("mail", {"max_retry": 3}, KNOWN)
    with pytest.raises(InvalidTaskOption, match=r"known: max_retries, on_success, time_limit"):
        options.check_send("mail", {"zzz": 3}, KNOWN)


@given(
    st.dictionaries(
        st.sampled_from([*options.LIMITS, "other"]),
        st.none() | st.just("5") | st.floats(allow_nan=False) | st.integers(),
    )
)
def test_no_option_of_a_received_message_is_above_its_tasks(given_options: dict[str, Any]) -> None:
    limits = dict.fromkeys(options.LIMITS, 100)
    kept = options.clamped(given_options, limits)
    assert kept.keys() == given_options.keys()
    for name in options.LIMITS:
        assert name not in kept or kept[name] <= 100


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, True, "5", [], options.MAX_DELAY_MS + 1, timedelta(-1)])
def test_an_impossible_delay_is_refused(delay: Any) -> None:
    with pytest.raises(InvalidTaskOption, match=r"task mail: delay must be"):
        options.delay_ms("mail", delay)


def test_delays_are_milliseconds_timedeltas_or_aware_moments() -> None:
    assert options.delay_ms("mail", None) is None
    assert options.delay_ms("mail", 0) == 0
    assert options.delay_ms("mail", 1.6) == 2
    assert options.delay_ms("mail", timedelta(minutes=2)) == 120_000
    assert 59_000 < (options.delay_ms("mail", timezone.now() + timedelta(minutes=1)) or 0) <= 60_002
    assert options.delay_ms("mail", timezone.now() - timedelta(days=1)) == 0
    with pytest.raises(InvalidTaskOption, match=r"has no time zone"):
        options.delay_ms("mail", datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


def test_a_moment_is_a_delay_whatever_the_project_says_of_zones() -> None:
    with override_settings(USE_TZ=False):
        assert 59_000 < (options.delay_ms("mail", datetime.now(UTC) + timedelta(minutes=1)) or 0) <= 60_002
