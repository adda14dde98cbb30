"""Percentiles from buckets are right within a tenth, and merging in any order changes nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from django_cfg.tasks.records import histogram

durations = st.lists(st.floats(min_value=0.2, max_value=10_000_000), min_size=1, max_size=60)


def counted(values: list[float]) -> histogram.Histogram:
    return Counter(histogram.bucket_of(value) for value in values)


@given(durations, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_a_tenth_of_a_value_at_that_rank(values: list[float], share: float) -> None:
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))  # rounded up
    exact = ordered[int(rank) - 1]
    assert abs(histogram.percentile(counted(values), share) - exact) <= 0.1 * exact


@given(durations, durations)
def test_merged_parts_are_the_whole(left: list[float], right: list[float]) -> None:
    whole = counted(left + right)
    assert (
        histogram.merged([counted(left), counted(right)]) == whole == histogram.merged([counted(right), counted(left)])
    )
    assert histogram.loads(histogram.dumps(whole)) == whole


@given(st.lists(st.floats(min_value=0, max_value=1e12)))
def test_a_bucket_ends_where_the_next_begins_and_many_are_counted_like_each(values: list[float]) -> None:
    for value in values:
        bucket = histogram.bucket_of(value)
        lower = histogram.upper_ms(bucket - 1) if value > histogram.FLOOR_MS else -1.0
        assert lower < value <= histogram.upper_ms(bucket)
    assert histogram.buckets_of(values) == counted(values)


@given(st.lists(st.floats(allow_nan=False) | st.integers(-8, 200).map(histogram.upper_ms)))
def test_every_duration_has_its_bucket_also_at_an_end_and_beyond_all(values: list[float]) -> None:
    assert histogram.buckets_of(values) == counted(values)


def test_nothing_counted_has_no_percentile() -> None:
    assert histogram.percentile(Counter(), 0.5) == 0.0
    assert histogram.bucket_of(0) == histogram.bucket_of(-1.0)
