"""When a process that ended is started again."""

from __future__ import annotations

import pytest

from django_prodserver.policy import Next, Restarts


@pytest.mark.parametrize(
    ("rule", "code", "expected"),
    [
        ("always", 0, Next.RESTART),
        ("always", 1, Next.RESTART),
        ("always", -9, Next.RESTART),
        ("always", 2, Next.GIVE_UP),
        ("on-failure", 0, Next.DONE),
        ("on-failure", 1, Next.RESTART),
        ("never", 0, Next.DONE),
        ("never", 1, Next.GIVE_UP),
    ],
)
def test_rule_decides_by_the_exit_code(rule: str, code: int, expected: Next) -> None:
    assert Restarts(rule).ended(code, lived_s=60) is expected


def test_process_that_never_comes_up_is_given_up_after_five_starts() -> None:
    restarts = Restarts("always")
    pauses = []
    for _ in range(4):
        assert restarts.ended(1, lived_s=0.1) is Next.RESTART
        pauses.append(restarts.pause_s)
    assert pauses == [0.5, 1, 2, 4]
    assert restarts.ended(1, lived_s=0.1) is Next.GIVE_UP


def test_long_life_forgets_earlier_failures() -> None:
    restarts = Restarts("always", failed_starts=4)
    assert restarts.ended(1, lived_s=60) is Next.RESTART
    assert (restarts.failed_starts, restarts.pause_s) == (0, 0.5)
