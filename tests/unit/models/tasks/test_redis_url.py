from __future__ import annotations

import pytest

from django_cfg.models.tasks.redis_url import database_of, with_database


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", "redis://localhost/2"),
        ("redis://localhost:6379/0", "redis://localhost:6379/2"),
        ("redis://localhost:6379/", "redis://localhost:6379/2"),
        ("redis://h/0?db=5", "redis://h/2"),
        ("redis://h?db=5&socket_timeout=1", "redis://h/2?socket_timeout=1"),
        ("redis://bob:p%40%2F0@h:6379/0", "redis://bob:p%40%2F0@h:6379/2"),
        ("redis://:0@h/0", "redis://:0@h/2"),
        ("rediss://[::1]:6379/0", "rediss://[::1]:6379/2"),
        ("unix:///run/0/redis.sock", "unix:///run/0/redis.sock?db=2"),
        ("unix://:pw@/run/redis.sock?db=1&client_name=x", "unix://:pw@/run/redis.sock?client_name=x&db=2"),
    ],
)
def test_only_the_database_number_is_replaced(url: str, expected: str) -> None:
    assert with_database(url, 2) == expected


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://h", 0),
        ("redis://h/3", 3),
        ("redis://h/3?db=3", 3),
        ("redis://h?db=5", 5),
        ("unix:///run/7?db=4", 4),
        ("unix:///run/7", 0),
    ],
)
def test_the_database_number_is_the_one_that_a_client_uses(url: str, number: int) -> None:
    assert database_of(url) == number
