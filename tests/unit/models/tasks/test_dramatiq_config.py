from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg.models.tasks import DramatiqConfig
from tests.unit.refusal import refusal, refusals


def test_the_defaults_are_the_documented_ones() -> None:
    assert DramatiqConfig().model_dump() == {
        "processes": 4,
        "threads": 8,
        "queues": None,
        "max_retries": 3,
        "min_backoff": 1000,
        "max_backoff": 30_000,
        "max_age": None,
        "time_limit": 600_000,
        "lease_ms": 30_000,
        "max_deliveries": 5,
        "hard_time_limit_ms": None,
        "max_tasks_per_child": None,
        "max_memory_mb": None,
        "shutdown_timeout_ms": 25_000,
        "worker_conn_max_age": 60,
        "redis_db": 2,
        "redis_key_prefix": "dramatiq",
        "rabbitmq_prefix": "dramatiq",
        "prometheus_enabled": False,
        "otel_enabled": False,
        "admin_enabled": False,
        "middleware": [
            "dramatiq.middleware.AgeLimit",
            "dramatiq.middleware.TimeLimit",
            "dramatiq.middleware.Callbacks",
            "dramatiq.middleware.Retries",
            "django_dramatiq.middleware.AdminMiddleware",
            "django_dramatiq.middleware.DbConnectionsMiddleware",
        ],
    }


@pytest.mark.parametrize(
    "values",
    [
        {"processes": 1, "threads": 1, "max_retries": 0, "min_backoff": 100, "max_backoff": 1000},
        {"processes": 32, "threads": 64, "max_age": 1000, "time_limit": 1, "shutdown_timeout_ms": 0},
        {"lease_ms": 5000, "max_deliveries": 1, "worker_conn_max_age": 0, "redis_db": 0},
        {"lease_ms": 3_600_000, "worker_conn_max_age": None, "queues": [], "min_backoff": 30_000},
        {"queues": ["default", "a.b-c_1", "_x"], "redis_key_prefix": "shop:{jobs}", "rabbitmq_prefix": "shop.jobs_1-x"},
    ],
)
def test_the_bounds_themselves_are_allowed(values: Mapping[str, Any]) -> None:
    made = DramatiqConfig(**values)

    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("processes", 0, "processes must be greater than or equal to 1, got 0"),
        ("processes", -1, "processes must be greater than or equal to 1, got -1"),
        ("processes", 100, "processes must be less than or equal to 32, got 100"),
        ("threads", 0, "threads must be greater than or equal to 1, got 0"),
        ("threads", 65, "threads must be less than or equal to 64, got 65"),
        ("max_retries", -1, "max_retries must be greater than or equal to 0, got -1"),
        ("max_retries", "three", "max_retries must be a valid integer"),
        ("min_backoff", -5, "min_backoff must be greater than or equal to 100, got -5"),
        ("max_backoff", 999, "max_backoff must be greater than or equal to 1000, got 999"),
        ("max_age", -1, "max_age must be greater than or equal to 1000, got -1"),
        ("time_limit", "1m", "time_limit must be a valid integer"),
        ("lease_ms", 4999, "lease_ms must be greater than or equal to 5000, got 4999"),
        ("lease_ms", 3_600_001, "lease_ms must be less than or equal to 3600000, got 3600001"),
        ("max_deliveries", 0, "max_deliveries must be greater than or equal to 1, got 0"),
        ("shutdown_timeout_ms", -5, "shutdown_timeout_ms must be greater than or equal to 0, got -5"),
        ("worker_conn_max_age", -1, "worker_conn_max_age must be greater than or equal to 0, got -1"),
        ("redis_db", -1, "redis_db must be greater than or equal to 0, got -1"),
        ("redis_key_prefix", "", "redis_key_prefix: '' must be letters, digits"),
        ("rabbitmq_prefix", "shop:jobs", "rabbitmq_prefix: 'shop:jobs' must be 1 to 16 letters, digits"),
        ("rabbitmq_prefix", "x" * 17, f"rabbitmq_prefix: '{'x' * 17}' must be 1 to 16 letters"),
        ("queues", ["x", "x"], "queues names 'x' more than once; keep one"),
        ("queues", "default", "queues must be a valid list, got 'default'"),
        ("middleware", ["a.B", "a.B"], "middleware names 'a.B' more than once; keep one"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_field_value_and_source(field: str, value: object, said: str) -> None:
    message = refusals(lambda: DramatiqConfig.model_validate({field: value}))[field]

    assert message.startswith(said)
    assert "(from DramatiqConfig in code)" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.DQ", "queues: 'x.DQ' may not end in .DQ or .XQ, which brokers use; rename it"),
        ("x.XQ", "queues: 'x.XQ' may not end in .DQ or .XQ, which brokers use; rename it"),
        ("1st", "queues: '1st' is not a queue name; start with a letter or _"),
        ("critical,default", "queues: 'critical,default' is not a queue name"),
        ("", "queues: '' is not a queue name"),
    ],
)
def test_a_queue_name_that_some_broker_cannot_carry_is_refused(name: str, said: str) -> None:
    assert refusals(lambda: DramatiqConfig(queues=[name]))["queues.0"].startswith(said)


def test_a_least_backoff_above_the_longest_is_refused() -> None:
    assert "min_backoff 60000 ms is above max_backoff 30000 ms (from DramatiqConfig in code); lower" in refusal(
        lambda: DramatiqConfig(min_backoff=60_000)
    )


def test_all_problems_of_a_part_are_told_at_once() -> None:
    found = refusals(
        lambda: DramatiqConfig.model_validate(
            {"processes": 0, "queues": ["x.DQ"], "max_retry": 3, "min_backoff": "60000", "threads": "x"}
        )
    )

    assert found.keys() == {"processes", "queues.0", "max_retry", "min_backoff", "threads"}


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    assert refusals(lambda: DramatiqConfig.model_validate({"max_retry": 3})) == {
        "max_retry": "unknown key 'max_retry' (from DramatiqConfig in code); did you mean 'max_retries'?"
    }


def test_a_made_part_does_not_change() -> None:
    part = DramatiqConfig()

    with pytest.raises(ValidationError, match="frozen"):
        part.processes = 1  # type: ignore[misc]
