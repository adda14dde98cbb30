"""What is to start at a moment does not start before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from django_cfg.units import ms_until

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
moments = st.integers(0, 10_000_000).map(lambda number: START + timedelta(microseconds=number))


@given(moments, moments)
def test_a_clock_of_whole_milliseconds_reaches_a_moment_before_the_wait_is_over(
    moment: datetime, now: datetime
) -> None:
    whole = START + (now - START) // MILLISECOND * MILLISECOND
    assert moment <= now or whole + ms_until(moment, now) * MILLISECOND >= moment


@given(moments, moments)
def test_nothing_waits_more_than_two_milliseconds_too_long(moment: datetime, now: datetime) -> None:
    waits = ms_until(moment, now) * MILLISECOND
    assert waits <= max(moment - now, timedelta()) + 2 * MILLISECOND
    assert (waits == timedelta()) is (moment <= now)
