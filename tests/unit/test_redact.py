from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from django_cfg.models.cache import CacheConfig
from django_cfg.models.tasks import TaskConfig
from django_cfg.redact import is_secret_name, redact_url, redact_value


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://bob:hunter2@host:6379/0", "redis://bob:***@host:6379/0"),
        ("redis://:hunter2@host/0?db=1", "redis://:***@host/0?db=1"),
        ("redis://:p@ss#word@host/0", "redis://:***@host/0"),
        ("amqp://u:p/w@host/v", "amqp://u:***@host/v"),
        ("redis://:a?b@host/0", "redis://***"),
        ("redis://host/0?db=1&password=x&y=z", "redis://host/0?db=1&password=***"),
        ("redis://hunter2@host", "redis://***@host"),
        ("redis://host:hunter2/0", "redis://host:***/0"),
        ("redis://host/0#hunter2", "redis://host/0#***"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("unix://:hunter2@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("bob:hunter2@host", "bob:***@host"),
        ("", ""),
    ],
)
def test_a_shown_url_has_everything_but_its_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize("name", ["password", "bot_token", "SECRET_KEY", "api_key", "EMAIL_HOST_PASSWORD"])
def test_a_value_with_a_secret_name_is_hidden_whole(name: str) -> None:
    assert redact_value(name, "hunter2") == "***"


@pytest.mark.parametrize("name", ["processes", "key_prefix", "redis_key_prefix", "host"])
def test_a_plain_name_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (100, "100"),
        (None, "None"),
        ("two", "'two'"),
        (["redis://:pw@h"], "['redis://:***@h']"),
        ({"password": "pw", "port": 1}, "{password: ***, port: 1}"),
        (object(), "<object>"),
    ],
)
def test_a_shown_value_is_plain_data_without_secrets(value: object, shown: str) -> None:
    assert redact_value("field", value) == shown


def test_a_shown_value_is_short() -> None:
    assert len(redact_value("field", "x" * 10_000)) < 300


# Letters that occur in no message, with the characters that break URLs between them.
_SECRETS = st.lists(
    st.sampled_from(["QZX", "JQK", "XJZ", "@", "#", "/", "?", ":", "&", "=", "%", " ", "[", "]", "://", ";"]),
    min_size=1,
    max_size=8,
).map(lambda pieces: "QZXJK" + "".join(pieces) + "QZXJK")
_SHAPES = st.sampled_from(
    [
        "redis://:{secret}@host:6379/0",
        "redis://bob:{secret}@host:6379/two",
        "rediss://:{secret}@host/0/2?foo=1",
        "amqp://bob:{secret}@host:5672/v",
        "amqps://bob:{secret}@host:99999/",
        "redis://host:6379/0?password={secret}",
        "redis://host:6379/0?socket_timeout=abc&password={secret}",
        "unix://:{secret}@/run/redis.sock",
        "http://bob:{secret}@host/",
        "bob:{secret}@host:6379",
        "database://:{secret}@default",
        "redis:/:{secret}@host",
        " redis://:{secret}@${{HOST}}/0",
    ]
)


@given(shape=_SHAPES, secret=_SECRETS)
def test_no_part_of_a_secret_is_in_any_error(shape: str, secret: str) -> None:
    url = shape.format(secret=secret)
    makers = (
        lambda: TaskConfig(broker_url=url, result_backend=url),
        lambda: CacheConfig(redis_url=url),
        lambda: TaskConfig.model_validate({"enabled": url, "task_modules": [url], "dramatiq": url, url: 1}),
        lambda: TaskConfig.model_validate({"dramatiq": {"queues": [url], "processes": url, "middleware": url}}),
    )
    for make in makers:
        try:
            text = repr(make())
        except ValidationError as error:
            text = f"{error} {error.errors()!r} {error.json()}"
        assert not re.search("[QZXJK]{3}", text), text
