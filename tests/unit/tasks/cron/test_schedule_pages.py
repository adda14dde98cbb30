"""Schedules in the admin: words, next and last runs; every change by POST and with the permission for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from django_cfg.tasks import conf
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.operate import Operator
from django_cfg.tasks.cron.ticker import Ticker
from django_cfg.tasks.models import OperatorAction, Schedule, Tick
from tests.unit.tasks.conftest import serving

pytestmark = pytest.mark.django_db
LIST = "/admin/django_cfg_tasks/schedule/"
EVIL = "<script>alert(1)</script>"
JOBS = [
    {"actor_name": "report", "cron": "0 9 * * 1-5", "timezone": "Europe/Paris", "description": EVIL},
    {"actor_name": "poll", "every_s": 90, "name": EVIL},
]


@pytest.fixture
def broker(db: None) -> Iterator[EngineBroker]:
    for broker in serving("database://default"):
        for task in ("report", "poll"):
            dramatiq.actor(lambda: None, actor_name=task)
        with override_settings(DRAMATIQ_CRON_JOBS=JOBS):
            Ticker(broker, declared(conf.read())).turn()
            yield broker


def somebody(name: str, *permissions: str) -> Client:
    user: Any = get_user_model().objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(broker: EngineBroker) -> Client:
    return somebody("operator", "view_schedule", "manage_schedule")


def act(client: Client, action: str, name: str = "report", **more: str) -> Any:
    row = Schedule.objects.get(name=name)
    data = {"action": action, "_selected_action": str(row.pk), **more}
    return client.post(LIST, data, follow=True)


def change(client: Client, name: str, **changed: Any) -> Any:
    row = Schedule.objects.get(name=name)
    page = client.get(f"{LIST}{row.pk}/change/")
    form = page.context["adminform"].form
    values = {field: form.get_initial_for_field(form.fields[field], field) for field in form.fields}
    plain = {k: form.fields[k].prepare_value(v) if k in ("args", "kwargs") else v for k, v in values.items()}
    data = {k: "on" if v is True else v for k, v in {**plain, **changed}.items() if v is not None and v is not False}
    return client.post(f"{LIST}{row.pk}/change/", data, follow=True)


def test_the_list_says_times_in_words_and_escapes_everything(operator: Client) -> None:
    page = operator.get(LIST).content.decode()
    assert "At 09:00 on Monday through Friday, Europe/Paris" in page and "Every 1 min 30 s" in page
    assert EVIL not in page and "&lt;script&gt;" in page


def test_a_page_shows_next_and_last_runs(broker: EngineBroker, operator: Client) -> None:
    Operator(broker, declared(conf.read())).run_now("report")
    row = Schedule.objects.get(name="report")
    page = operator.get(f"{LIST}{row.pk}/change/").content.decode()
    assert page.count("T08:00:00Z<br>") + page.count("T07:00:00Z<br>") == 10
    assert "enqueued (waits or runs)" in page and EVIL not in page


def test_run_pause_and_resume_are_actions(broker: EngineBroker, operator: Client) -> None:
    page = act(operator, "run_now")
    assert [str(message) for message in page.context["messages"]] == ["report: run now."]
    assert [m.actor_name for m in broker.peek("default")] == ["report"]
    act(operator, "pause", note=EVIL)
    row = Schedule.objects.get(name="report")
    assert row.paused_at is not None and row.paused_note == EVIL and row.changed_by == "operator"
    assert EVIL not in operator.get(LIST).content.decode()
    act(operator, "resume")
    row.refresh_from_db()
    assert row.paused_at is None
    acts = OperatorAction.objects.order_by("id").values_list("actor", "source", "action", "target", "affected")
    assert list(acts) == [("operator", "admin", act, "schedule report", 1) for act in ("run", "pause", "resume")]


def test_a_get_changes_nothing(broker: EngineBroker, operator: Client) -> None:
    row = Schedule.objects.get(name="report")
    operator.get(LIST, {"action": "run_now", "_selected_action": str(row.pk)})
    assert not Tick.objects.exists()


@pytest.mark.parametrize("action", ["run_now", "pause", "resume", "reset_to_code"])
def test_who_may_only_look_can_do_nothing(broker: EngineBroker, action: str) -> None:
    viewer = somebody("viewer", "view_schedule")
    assert viewer.get(LIST).status_code == 200
    before = Schedule.objects.get(name="report").revision
    act(viewer, action)
    assert change_url_is_closed(viewer)
    assert Schedule.objects.get(name="report").revision == before and not Tick.objects.exists()
    assert somebody("stranger").get(LIST).status_code == 403


def change_url_is_closed(client: Client) -> bool:
    row = Schedule.objects.get(name="report")
    return client.post(f"{LIST}{row.pk}/change/", {"actor_name": "report", "cron": "@daily"}).status_code == 403


def test_a_change_is_an_override_of_the_changed_keys_and_can_be_reset(operator: Client) -> None:
    page = change(operator, "report", cron="0 10 * * 1-5", queue="mail")
    assert page.redirect_chain, page.context["errors"]
    assert Schedule.objects.get(name="report").override == {"cron": "0 10 * * 1-5", "queue": "mail"}
    listed = operator.get(LIST).content.decode()
    assert "At 10:00 on Monday through Friday" in listed and "code, changed here: cron, queue" in listed
    act(operator, "reset_to_code")
    assert Schedule.objects.get(name="report").override == {}
    acts = OperatorAction.objects.order_by("id").values_list("action", "detail")
    assert list(acts) == [("override", "cron, queue"), ("reset", "")]


def test_a_cron_expression_may_replace_an_interval(operator: Client) -> None:
    page = change(operator, EVIL, cron="@hourly", every_s="")
    assert page.redirect_chain, page.context["errors"]
    assert "At the start of every hour" in operator.get(LIST).content.decode() or "0 * * * *" in str(
        Schedule.objects.get(name=EVIL).override
    )


def test_a_wrong_change_is_refused_with_the_reason(operator: Client) -> None:
    page = change(operator, "report", cron="0 25 * * *").content.decode()
    assert "field 2 (hour) has &#x27;25&#x27;; allowed: 0–23" in page
    assert Schedule.objects.get(name="report").override == {}


def test_an_operator_can_add_a_schedule_and_delete_it_but_none_of_the_code(operator: Client) -> None:
    data = {"name": "mine", "actor_name": "poll", "cron": "@daily", "timezone": "UTC", "args": "[1]", "kwargs": "{}",
            "enabled": "on", "missed": "latest", "missed_limit": "100", "missed_window_s": "60", "overlap": "skip",
            "jitter_s": "0"}  # fmt: skip
    page = operator.post(f"{LIST}add/", data)
    assert page.status_code == 302, page.context["errors"]
    mine = Schedule.objects.get(name="mine")
    assert mine.source == "admin" and mine.definition["args"] == [1] and mine.definition["overlap"] == "skip"
    assert operator.post(f"{LIST}{mine.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Schedule.objects.filter(name="mine").exists()
    report = Schedule.objects.get(name="report")
    assert operator.post(f"{LIST}{report.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(("name", "task"), [("report", "poll"), ("", "report"), ("mine", "report")])
def test_what_is_added_replaces_no_schedule_of_the_same_name(operator: Client, name: str, task: str) -> None:
    data = {"timezone": "UTC", "missed": "latest", "missed_limit": "100", "missed_window_s": "60", "overlap": "allow",
            "jitter_s": "0"}  # fmt: skip
    operator.post(f"{LIST}add/", {**data, "name": "mine", "actor_name": "poll", "cron": "@daily"})
    page = operator.post(f"{LIST}add/", {**data, "name": name, "actor_name": task, "cron": "@weekly"})
    assert page.status_code == 200 and f"{name or task}&#x27; already" in str(page.context["errors"])
    assert Schedule.objects.get(name="mine").definition["cron"] == "0 0 * * *"


def test_a_schedule_of_a_task_that_nobody_declares_is_refused_with_the_nearest(operator: Client) -> None:
    data = {"timezone": "UTC", "missed": "latest", "missed_limit": "100", "missed_window_s": "60", "overlap": "allow",
            "jitter_s": "0", "cron": "@daily"}  # fmt: skip
    page = operator.post(f"{LIST}add/", {**data, "name": "mine", "actor_name": "repotr"})
    assert "no task is named &#x27;repotr&#x27;; did you mean &#x27;report&#x27;?" in str(page.context["errors"])
    assert "did you mean &#x27;poll&#x27;" in change(operator, "report", actor_name="polll").content.decode()
    assert not Schedule.objects.filter(name="mine").exists() and Schedule.objects.get(name="report").override == {}


def test_schedules_that_no_scheduler_has_seen_are_told(broker: EngineBroker, operator: Client) -> None:
    with override_settings(DRAMATIQ_CRON_JOBS=[*JOBS, {"actor_name": "poll", "cron": "@daily", "name": "new"}]):
        page = operator.get(LIST).content.decode()
    assert "No scheduler has run since these were declared: new. Start rundramatiq." in page
