from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from django_cfg.models.tasks import DramatiqConfig, TaskBackend, TaskConfig
from tests.unit.models.tasks.test_broker_url import BAD
from tests.unit.refusal import refusals


def test_the_defaults_are_the_documented_ones() -> None:
    assert TaskConfig().model_dump(exclude={"dramatiq"}) == {
        "enabled": True,
        "backend": TaskBackend.DRAMATIQ,
        "broker_url": "",
        "result_backend": None,
        "result_ttl_days": 30,
        "records": None,
        "record_retention_days": 30,
        "records_database": "default",
        "max_payload_bytes": 262_144,
        "probe": None,
        "notices": [],
        "notices_every_s": 300,
        "notices_private_hosts": [],
        "health_min_workers": 1,
        "health_max_wait_s": 300,
        "health_max_pending": None,
        "health_max_dead": 100,
        "enqueue_on_commit": True,
        "auto_discover_tasks": True,
        "task_modules": ["tasks"],
        "schedules": [],
    }


def test_the_settings_are_plain_python_and_complete() -> None:
    settings = TaskConfig(dramatiq=DramatiqConfig(queues=["a"])).to_django_config()

    assert json.loads(json.dumps(settings)) == settings
    assert settings["DJANGO_CFG_TASKS"] == {
        "enabled": True,
        "auto_discover_tasks": True,
        "task_modules": ["tasks"],
        "processes": 4,
        "threads": 8,
        "queues": ["a"],
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
        "max_payload_bytes": 262_144,
        "enqueue_on_commit": True,
        "result_backend": None,
        "result_ttl_days": 30,
        "probe": None,
        "notices": [],
        "notices_every_s": 300,
        "notices_private_hosts": [],
        "health_min_workers": 1,
        "health_max_wait_s": 300,
        "health_max_pending": None,
        "health_max_dead": 100,
        "records": None,
        "record_retention_days": 30,
        "records_database": "default",
        "admin_enabled": False,
        "prometheus_enabled": False,
        "otel_enabled": False,
        "redis_key_prefix": "dramatiq",
        "rabbitmq_prefix": "dramatiq",
        "middleware_is_default": True,
        "schedules": [],
    }
    assert settings["DRAMATIQ_BROKER"]["OPTIONS"] == {"url": "database://default"}
    assert settings.keys() == {"DJANGO_CFG_TASKS", "DRAMATIQ_BROKER", "TASKS"}


@pytest.mark.parametrize(
    ("written", "cache", "used"),
    [
        ("", "", "database://default"),
        ("", "redis://:pw@h:6379/0", "redis://:pw@h:6379/2"),
        ("redis://tasks/0", "redis://cache/0", "redis://tasks/0"),
        ("amqp://u:p@h/v", "redis://cache/0", "amqp://u:p@h/v"),
        ("database://jobs", "redis://cache/0", "database://jobs"),
    ],
)
def test_the_broker_is_the_written_one_else_the_caches_redis_else_the_database(
    written: str, cache: str, used: str
) -> None:
    settings = TaskConfig(broker_url=written).to_django_config(cache_redis_url=cache)

    assert settings["DRAMATIQ_BROKER"]["OPTIONS"]["url"] == used


def test_the_shared_redis_is_used_under_the_written_database_number() -> None:
    tasks = TaskConfig(dramatiq=DramatiqConfig(redis_db=7))

    assert tasks.resolved_broker_url("redis://h/0?db=1") == "redis://h/7"


def test_a_written_middleware_list_is_passed_on_in_its_order_and_marked() -> None:
    written = ["shop.middleware.Timing", "dramatiq.middleware.Retries"]
    settings = TaskConfig(dramatiq=DramatiqConfig(middleware=written)).to_django_config()

    assert settings["DRAMATIQ_BROKER"]["MIDDLEWARE"] == written
    assert settings["DJANGO_CFG_TASKS"]["middleware_is_default"] is False


@pytest.mark.parametrize(("url", "said"), BAD)
def test_an_unusable_broker_url_is_refused_with_field_and_source(url: str, said: str) -> None:
    message = refusals(lambda: TaskConfig(broker_url=url))["broker_url"]

    assert message.startswith("broker_url ")
    assert said in message
    assert message.endswith("(from TaskConfig in code)")


@pytest.mark.parametrize("value", [True, False])
def test_auto_start_worker_is_refused_with_the_reason_and_the_command(value: bool) -> None:
    message = refusals(lambda: TaskConfig.model_validate({"auto_start_worker": value}))["auto_start_worker"]

    assert "loses track of them" in message
    assert "python manage.py rundramatiq" in message


def test_an_empty_result_backend_is_refused() -> None:
    assert refusals(lambda: TaskConfig(result_backend=""))["result_backend"].startswith(
        "result_backend is empty; write a URL, or None for the broker's own store"
    )


def test_no_workers_written_means_the_default_workers() -> None:
    assert TaskConfig.model_validate({"dramatiq": None}) == TaskConfig()


def test_problems_of_a_nested_part_are_told_with_those_around_it() -> None:
    found = refusals(
        lambda: TaskConfig.model_validate(
            {"broker_url": "localhost", "brokerurl": 1, "dramatiq": {"processes": 0, "thread": 1}}
        )
    )

    assert found.keys() == {"broker_url", "brokerurl", "dramatiq.processes", "dramatiq.thread"}


@pytest.mark.parametrize("value", [{"max_payload_bytes": 0}, {"result_ttl_days": 0}, {"backend": "celery"}])
def test_other_values_out_of_bounds_are_refused(value: dict[str, object]) -> None:
    assert refusals(lambda: TaskConfig.model_validate(value)).keys() == value.keys()


@pytest.mark.parametrize("names", [["tasks", "tasks"], ["my tasks"], [""]])
def test_task_modules_are_names_that_can_be_imported_once(names: list[str]) -> None:
    with pytest.raises(ValidationError, match="task_modules"):
        TaskConfig(task_modules=names)


def test_djangos_own_tasks_run_on_the_same_broker_with_the_same_retries() -> None:
    assert TaskConfig(dramatiq=DramatiqConfig(max_retries=4)).to_django_config()["TASKS"] == {
        "default": {
            "BACKEND": "django_cfg.tasks.backends.EngineBackend",
            "QUEUES": [],
            "OPTIONS": {"enqueue_on_commit": False, "max_attempts": 5},
        }
    }
    apart = TaskConfig(broker_url="redis://h/2", dramatiq=DramatiqConfig(queues=["a", "b"])).to_django_config()["TASKS"]
    assert apart["default"]["QUEUES"] == ["a", "b"]
    assert apart["default"]["OPTIONS"]["enqueue_on_commit"] is True
