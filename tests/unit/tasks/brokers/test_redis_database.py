"""Two URLs can name one Redis database in many ways."""

from __future__ import annotations

import pytest

from django_cfg.tasks.brokers.redis_url import same_redis_database


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://h/1", "redis://h:6379/1", True),
        ("redis://h", "redis://h/0", True),
        ("redis://u:p@h/1", "redis://h/1?x=2", True),
        ("redis://h?db=3", "redis://h/3", True),
        ("redis://localhost/1", "redis://127.0.0.1/1", True),
        ("redis://localhost/1", "redis://[::1]/1", True),
        ("redis://H/1", "rediss://h/1", True),
        ("redis://h/1", "redis://h/2", False),
        ("redis://h:1/1", "redis://h:2/1", False),
        ("redis://a/1", "redis://b/1", False),
        ("database://default", "database://default", False),
        ("", "", False),
        ("redis://h:port/1", "redis://h:port/1", False),
        ("redis://[h/1", "redis://[h/1", False),
    ],
)
def test_sameness(one: str, other: str, same: bool) -> None:
    assert same_redis_database(one, other) is same
    assert same_redis_database(other, one) is same
