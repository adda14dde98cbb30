"""A schedule is read the same from settings, from TaskConfig and from a decorator; errors say whose key is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import dramatiq
import pytest
from django.test import override_settings

from django_cfg.errors import CronError
from django_cfg.models.tasks import CronJob, IntervalJob, TaskConfig
from django_cfg.tasks import conf
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import cron, interval
from django_cfg.tasks.cron import declared as declaring
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.entry import Entry, read
from tests.unit.refusal import refusals

DOCUMENTED = [
    {"actor_name": "cleanup_old_data", "cron": "0 2 * * *"},
    {"actor_name": "send_daily_report", "cron": "0 9 * * 1-5"},
    {"actor_name": "backup_database", "cron": "0 0 * * 0"},
]


@pytest.fixture
def no_decorators() -> Iterator[None]:
    before = dict(declaring._noted)
    declaring._noted.clear()
    yield
    declaring._noted.clear()
    declaring._noted.update(before)


def found(**settings: Any) -> dict[str, Entry]:
    with override_settings(**settings):
        return declared(conf.read())


def test_the_documented_setting_works_as_it_is_written(no_decorators: None) -> None:
    code = found(DRAMATIQ_CRON_JOBS=DOCUMENTED, TIME_ZONE="Europe/Paris")
    assert list(code) == ["cleanup_old_data", "send_daily_report", "backup_database"]
    assert {entry.timezone for entry in code.values()} == {"Europe/Paris"}
    assert code["send_daily_report"].words == "At 09:00 on Monday through Friday, Europe/Paris"


def test_what_task_config_writes_is_what_the_engine_reads(no_decorators: None) -> None:
    full = CronJob(
        actor_name="report",
        name="weekly",
        cron="0 9 * * MON",
        timezone="America/New_York",
        args=[1, "x"],
        kwargs={"deep": {"a": [None, 2.5]}},
        queue="reports",
        enabled=False,
        missed="all",
        missed_limit=7,
        missed_window_s=60,
        overlap="buffer_one",
        jitter_s=12.5,
        start=datetime(2026, 1, 1, tzinfo=UTC),
        end=datetime(2027, 1, 1, tzinfo=UTC),
        ping_url="https://pings.example/abc",
        description="for the board",
    )
    tasks = TaskConfig(schedules=[full, IntervalJob(actor_name="poll", every_s=90)])
    code = found(**tasks.to_django_config())
    weekly = {f.name: getattr(code["weekly"], f.name) for f in fields(Entry)}
    assert weekly.pop("every_s") is None
    assert weekly.pop("start") == "2026-01-01T00:00:00Z" and weekly.pop("end") == "2027-01-01T00:00:00Z"
    assert weekly == full.model_dump(exclude={"start", "end"}) | {"args": (1, "x")}
    assert (code["poll"].every_s, code["poll"].name, code["poll"].words) == (90, "poll", "Every 1 min 30 s")


def test_both_sides_know_the_same_keys_and_defaults() -> None:
    written = {**IntervalJob.model_fields, **CronJob.model_fields}
    assert set(written) == {f.name for f in fields(Entry)}
    entry = read({"actor_name": "a", "every_s": 5}, "test")
    for name in written.keys() - {"actor_name", "name", "cron", "every_s", "timezone", "args", "kwargs"}:
        assert getattr(entry, name) == written[name].default, name


def test_a_decorator_declares_a_schedule_and_leaves_the_task_alone(stub: EngineBroker, no_decorators: None) -> None:
    @cron("0 2 * * *", kwargs={"days": 30})
    @interval(60, name="often")
    @dramatiq.actor
    def clean(days: int = 7) -> None: ...

    code = found(TIME_ZONE="Asia/Tokyo")
    assert isinstance(clean, dramatiq.Actor)
    assert (code["clean"].cron, code["clean"].timezone, code["clean"].kwargs) == (
        "0 2 * * *",
        "Asia/Tokyo",
        {"days": 30},
    )
    assert code["often"].every_s == 60 and code["often"].actor_name == "clean"


def test_a_decorator_below_the_one_that_makes_the_task_is_refused() -> None:
    with pytest.raises(CronError, match="@cron stands above the decorator that makes the task"):
        cron("@daily")(lambda: None)


def test_a_wrong_decorator_fails_where_it_is_written(stub: EngineBroker) -> None:
    @dramatiq.actor
    def job() -> None: ...

    with pytest.raises(CronError, match=r"@cron above job: cron '0 25 \* \* \*': field 2 \(hour\) has '25'"):
        cron("0 25 * * *")(job)
    with pytest.raises(CronError, match="@interval above job: unknown key 'timzone'; did you mean 'timezone'"):
        interval(5, timzone="UTC")(job)


def test_two_schedules_of_one_name_are_refused(no_decorators: None) -> None:
    jobs = [{"actor_name": "a", "cron": "@daily"}, {"actor_name": "a", "cron": "@hourly"}]
    with pytest.raises(
        CronError, match=r"DRAMATIQ_CRON_JOBS\[1\]: two schedules are named 'a'; give one of them a name"
    ):
        found(DRAMATIQ_CRON_JOBS=jobs)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"cron": "@daily"}, "actor_name is missing"),
        ({"actor_name": "a"}, "write either cron, like '0 2 * * *', or every_s, in seconds"),
        ({"actor_name": "a", "cron": "@daily", "every_s": 5}, "write either cron"),
        ({"actor_name": "a", "cron": "@dayly"}, "did you mean @daily?"),
        ({"actor_name": "a", "crn": "@daily"}, "unknown key 'crn'; did you mean 'cron'?"),
        ({"actor_name": "a", "cron": "@daily", "timezone": "EST5"}, "timezone 'EST5' is unknown"),
        ({"actor_name": "a", "every_s": 0.5}, "every_s must be a number of seconds, 1 to a year, got 0.5"),
        ({"actor_name": "a", "every_s": True}, "every_s must be a number"),
        ({"actor_name": "a", "every_s": 5, "missed": "never"}, "missed must be one of skip, latest, all, got 'never'"),
        (
            {"actor_name": "a", "every_s": 5, "overlap": 1},
            "overlap must be one of allow, skip, buffer_one, cancel_other",
        ),
        ({"actor_name": "a", "every_s": 5, "args": "x"}, "args must be a list"),
        ({"actor_name": "a", "every_s": 5, "kwargs": {"a": {1}}}, "set is not JSON; pass a list"),
        ({"actor_name": "a", "every_s": 5, "start": "2026-01-01T00:00"}, "start must be a moment with its offset"),
        (
            {"actor_name": "a", "every_s": 5, "start": "2026-01-02T00:00Z", "end": "2026-01-01T00:00Z"},
            "end 2026-01-01T00:00Z is before start",
        ),
        ({"actor_name": "a", "every_s": 5, "ping_url": "http://pings.example/x"}, "ping_url must be an https:// URL"),
        ({"actor_name": "a", "every_s": 5, "missed_limit": 0}, "missed_limit must be a whole number, 1–1000, got 0"),
    ],
)
def test_a_wrong_entry_says_where_it_stands_and_what_is_allowed(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CronError) as caught:
        found(DRAMATIQ_CRON_JOBS=[given])
    assert str(caught.value).startswith("DRAMATIQ_CRON_JOBS[0]: ") and complaint in str(caught.value)


def test_task_config_tells_every_wrong_schedule_at_once() -> None:
    told = refusals(
        lambda: TaskConfig(
            schedules=[
                {"actor_name": "a", "cron": "61 * * * *", "timezone": "Europe/Berln"},  # type: ignore[list-item]
                {"actor_name": "b", "every_s": 0},  # type: ignore[list-item]
                {"actor_name": "c", "cron": "@daily", "ping_url": "http://x.example/"},  # type: ignore[list-item]
            ]
        )
    )
    text = "\n".join(told.values())
    assert "field 1 (minute) has '61'; allowed: 0–59" in text
    assert "did you mean 'Europe/Berlin'?" in text
    assert "every_s must be greater than or equal to 1" in text
    assert "ping_url must be an https:// URL" in text


@pytest.mark.parametrize("given", [*DOCUMENTED, {"actor_name": "a", "every_s": 5.0, "args": [1], "kwargs": {"x": 1}}])
def test_what_is_written_down_reads_as_the_same_schedule(given: dict[str, Any]) -> None:
    entry = read(given, "test", "Europe/Berlin")
    assert read(entry.written(), "again") == entry
