"""Each system check speaks up in its case, with a hint, and is silent otherwise."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import dramatiq
import pytest
import time_machine
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, run_checks
from django.db import connection, connections
from django.test import override_settings

from django_cfg.tasks import checks
from django_cfg.tasks.brokers import stack
from django_cfg.tasks.brokers.base import EngineBroker

PLAIN = {"DJANGO_CFG_TASKS": {}, "DRAMATIQ_BROKER": {}}


def said(check: Callable[..., list[CheckMessage]], databases: list[str] | None = None, **changes: Any) -> list[str]:
    with override_settings(**{**PLAIN, **changes}):
        found = check(None, databases=databases)
    assert all(message.hint for message in found)
    return [str(message.id).removeprefix("django_cfg_tasks.") for message in found]


@pytest.mark.django_db(databases="__all__")  # Django's own checks may ask a MySQL server what it is
def test_a_project_as_it_should_be_hears_nothing() -> None:
    assert [m for m in run_checks() if str(m.id).startswith("django_cfg_tasks")] == []


def test_w001_an_app_above_the_tasks_app() -> None:
    good = ["django_cfg.apps.tasks", "tests"]
    assert said(checks.app_order, INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *good]) == []
    assert said(checks.app_order, INSTALLED_APPS=good[::-1]) == ["W001"]


def test_e002_a_task_on_a_queue_that_nobody_serves(stub: EngineBroker) -> None:
    dramatiq.actor(lambda: None, actor_name="lost", queue_name="exports")
    assert said(checks.unserved_queues) == []
    assert said(checks.unserved_queues, DJANGO_CFG_TASKS={"queues": ["default", "exports"]}) == []
    assert said(checks.unserved_queues, DJANGO_CFG_TASKS={"queues": ["default"]}) == ["E002"]


@pytest.mark.django_db(transaction=True)
def test_w003_migrations_that_are_not_applied() -> None:
    assert said(checks.migrations_applied, ["default"]) == []
    assert said(checks.migrations_applied) == []
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET app = 'hidden' WHERE app = 'django_cfg_tasks'")
    try:
        assert said(checks.migrations_applied, ["default"]) == ["W003"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET app = 'django_cfg_tasks' WHERE app = 'hidden'")


@pytest.mark.django_db(databases="__all__")
def test_w004_more_threads_than_connections() -> None:
    many = {"processes": 32, "threads": 64}
    assert said(checks.connection_budget, ["default"], DJANGO_CFG_TASKS=many) == []  # SQLite has no limit
    if "postgres" in django_settings.DATABASES:
        assert said(checks.connection_budget, ["postgres"], DJANGO_CFG_TASKS={"processes": 1, "threads": 1}) == []
        assert said(checks.connection_budget, ["postgres"], DJANGO_CFG_TASKS=many) == ["W004"]
    if "mysql" in django_settings.DATABASES:
        assert said(checks.connection_budget, ["mysql"], DJANGO_CFG_TASKS=many) == ["W004"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("redis://h/2", ["W005"]),
        ("redis://h/1", []),
        (["redis://h/1", "redis://h/2"], ["W005"]),
        ("redis://other/1;redis://h/2", ["W005"]),
        ("", []),
        ("redis://h:bad/2", []),
    ],
)
def test_w005_cache_and_queue_in_one_redis_database(location: Any, expected: list[str]) -> None:
    caches = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": location}}
    broker = {"OPTIONS": {"url": "redis://h:6379/2"}}
    assert said(checks.cache_apart, CACHES=caches, DRAMATIQ_BROKER=broker) == expected


def test_w006_and_w007_for_production() -> None:
    assert said(checks.production, DEBUG=True) == ["W007", "W006"]
    assert said(checks.production, DEBUG=False) == ["W006"]


def test_w006_is_silent_without_sqlite(stub: EngineBroker) -> None:
    assert said(checks.production, DEBUG=False) == []


def test_w008_sqlite_options_that_lead_to_lock_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(checks.sqlite_options) == []
    changed = deepcopy(connections.settings)
    changed["default"]["OPTIONS"] = {"timeout": 1}
    monkeypatch.setattr(connections, "_settings", changed)
    monkeypatch.setitem(connections.__dict__, "settings", changed)
    assert said(checks.sqlite_options) == ["W008"]


def test_w009_middleware_that_was_missing_and_w010_a_name_that_means_another() -> None:
    assert said(checks.middleware_list) == []
    assert said(checks.middleware_list, DRAMATIQ_BROKER={"MIDDLEWARE": [stack.STOCK + "Retries"]}) == ["W009"]
    listed = [stack.STOCK + "Shutdown", *stack.NEEDED[1:]]
    assert said(checks.middleware_list, DRAMATIQ_BROKER={"MIDDLEWARE": listed}) == ["W010"]
    assert said(checks.middleware_list, DRAMATIQ_BROKER={"MIDDLEWARE": list(stack.NEEDED)}) == []


@pytest.mark.mariadb
def test_w013_isolation_that_makes_claims_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_queue_alias", lambda: "mysql")
    assert said(checks.isolation) == []
    changed = deepcopy(connections.settings)
    changed["mysql"]["OPTIONS"] = {"isolation_level": "repeatable read"}
    monkeypatch.setattr(connections, "_settings", changed)
    monkeypatch.setitem(connections.__dict__, "settings", changed)
    assert said(checks.isolation) == ["W013"]


def test_a_database_that_cannot_keep_records_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(checks.records_database) == []
    monkeypatch.setattr(checks, "VENDORS", ("postgresql",))
    assert said(checks.records_database) == ["W011"]
    assert said(checks.records_database, DJANGO_CFG_TASKS={"records_database": "nowhere"}) == ["E012"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("amqp://guest:guest@rabbit.example/", ["django_cfg_tasks.W023"]),
        ("amqps://rabbit.example", ["django_cfg_tasks.W023"]),
        ("amqp://guest:guest@127.0.0.1/", []),
        ("amqp://shop:secret@rabbit.example/", []),
        ("database://default", []),
    ],
)
def test_guest_at_another_host_is_named(settings: Any, url: str, warned: list[str]) -> None:
    settings.DRAMATIQ_BROKER = {"OPTIONS": {"url": url}}
    assert [message.id for message in checks.rabbitmq_guest(None)] == warned


@pytest.mark.parametrize(
    ("job", "ids"),
    [
        ({"actor_name": "known", "cron": "0 2 * * *", "timezone": "UTC"}, []),
        ({"actor_name": "known", "cron": "61 * * * *"}, ["E020"]),
        ({"actor_name": "known", "cron": "0 2 * * *", "timezone": "EST5"}, ["E020"]),
        ({"actor_name": "knwon", "cron": "0 2 * * *"}, ["E021"]),
        ({"actor_name": "known", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}, ["I022"]),
    ],
)
def test_a_schedule_that_is_wrong_runs_no_task_or_meets_a_change_of_clocks(
    stub: EngineBroker, job: dict[str, str], ids: list[str]
) -> None:
    dramatiq.actor(lambda: None, actor_name="known")
    assert said(checks.schedules, DRAMATIQ_CRON_JOBS=[job]) == ids


def test_the_note_on_a_change_of_clocks_says_when_it_runs_instead(stub: EngineBroker) -> None:
    dramatiq.actor(lambda: None, actor_name="known")
    job = {"actor_name": "known", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    with time_machine.travel("2026-11-21"), override_settings(**PLAIN, DRAMATIQ_CRON_JOBS=[job]):
        [note] = checks.schedules(None)
    assert note.msg == "Schedule 'known': 02:30 does not exist on 28 Mar 2027 in Europe/Berlin."
    assert str(note.hint).startswith("It runs at 03:00 then.")


def test_w024_moments_without_a_zone(stub: EngineBroker) -> None:
    """And nothing else fails over them on the way there."""
    dramatiq.actor(lambda: None, actor_name="known")
    assert said(checks.moments) == []
    with override_settings(USE_TZ=False):
        assert said(checks.moments) == ["W024"]
        assert said(checks.schedules, DRAMATIQ_CRON_JOBS=[{"actor_name": "known", "cron": "0 2 * * *"}]) == []
