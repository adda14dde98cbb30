"""The pace of a count is that of the last whole window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_cfg.tasks.worker.pace import Pace


def test_until_a_window_is_over_nothing_is_known() -> None:
    pace = Pace(0.1, now=5.0)
    assert pace.per_s(1000, 5.05) == 0.0


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_a_count_that_is_asked_for_after_each_window_grew_by_its_steps(steps: list[int]) -> None:
    pace, now, count = Pace(1.0, now=0.0), 0.0, 0
    for step in steps:
        now, count = now + 2.0, count + step
        assert pace.per_s(count, now) == step / 2
        assert pace.per_s(count + 500, now + 0.5) == step / 2  # the next window is not over


def test_what_has_stopped_has_no_pace_after_one_window() -> None:
    pace = Pace(0.1, now=0.0)
    assert pace.per_s(100, 0.1) == 1000.0
    assert pace.per_s(100, 0.3) == 0.0
