"""The verdict on facts, and what an endpoint may tell whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks import health
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import QueueStats
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.health import Facts, Recent, Report, Status, judge
from django_cfg.tasks.views import health as view
from django_cfg.tasks.worker.roster import Status as WorkerStatus
from django_cfg.tasks.worker.roster import WorkerStats

SETTINGS = TaskSettings()
WORKER = WorkerStats(
    "h", 1, 1, WorkerStatus.IDLE, "1", ("default",), threads=2, running=(), rss_bytes=None,
    uptime_s=1, heartbeat_age_s=1, is_local=True,
)  # fmt: skip
LOST = replace(WORKER, status=WorkerStatus.LOST)
GOOD = Facts(queues=(QueueStats("default"),), workers=(WORKER,))


def verdict(facts: Facts, **settings: Any) -> tuple[str, list[str]]:
    found = judge(facts, replace(SETTINGS, **settings))
    return found.status.value, [reason.text for reason in found.reasons]


def queue(**numbers: Any) -> Facts:
    return replace(GOOD, queues=(QueueStats("default", **numbers),))


def test_a_working_system_is_healthy() -> None:
    assert verdict(GOOD) == ("healthy", [])


def test_disabled_tasks_are_neither_well_nor_ill() -> None:
    assert verdict(Facts(None, None, broker_error="away"), enabled=False) == ("disabled", [])


def test_a_broker_that_does_not_answer_is_unhealthy() -> None:
    status, reasons = verdict(Facts(None, (WORKER,), broker_error="connection refused"))
    assert (status, reasons) == ("unhealthy", ["the broker does not answer: connection refused"])


@pytest.mark.parametrize(
    ("facts", "settings", "text"),
    [
        (replace(GOOD, workers=()), {}, "0 workers live, expected at least 1"),
        (GOOD, {"health_min_workers": 3}, "1 worker lives, expected at least 3"),
        (replace(GOOD, workers=(LOST,)), {}, "0 workers live, expected at least 1"),
    ],
)
def test_too_few_living_workers_are_unhealthy(facts: Facts, settings: dict[str, Any], text: str) -> None:
    status, reasons = verdict(facts, **settings)
    assert status == "unhealthy"
    assert text in reasons


@pytest.mark.parametrize(
    ("facts", "settings", "text"),
    [
        (replace(GOOD, workers=None, workers_error="x"), {}, "the registry of workers does not answer: x"),
        (replace(GOOD, workers=(WORKER, LOST)), {}, "1 worker is lost"),
        (queue(oldest_pending_age_s=301.0), {}, "queue default: the oldest task waits for 5 min 1 s, above 5 min 0 s"),
        (queue(pending=11), {"health_max_pending": 10}, "queue default: 11 tasks wait, above 10"),
        (queue(dead=101), {}, "queue default: 101 dead letters, above 100"),
        (
            replace(GOOD, queues=(QueueStats("mail", pending=2),)),
            {},
            "queue mail: 2 tasks wait and no worker serves it",
        ),
    ],
)
def test_what_needs_a_look_is_degraded(facts: Facts, settings: dict[str, Any], text: str) -> None:
    assert verdict(facts, **settings) == ("degraded", [text])


def test_no_limit_means_no_limit() -> None:
    facts = queue(pending=10**6, dead=10**6, oldest_pending_age_s=10.0**6)
    assert verdict(facts, health_max_wait_s=None, health_max_dead=None) == ("healthy", [])


def test_no_worker_is_needed_where_the_limit_says_so() -> None:
    assert verdict(replace(GOOD, workers=()), health_min_workers=0) == ("healthy", [])


def test_many_who_ask_at_once_cost_one_look() -> None:
    looks: list[int] = []

    def look() -> Report:
        looks.append(1)
        return judge(GOOD, SETTINGS)

    recent = Recent(look)
    assert {recent.get().status for _ in range(50)} == {Status.HEALTHY}
    assert looks == [1]


# -- the endpoint --------------------------------------------------------------------------------------


@pytest.fixture
def endpoint(stub: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(view, "_recent", Recent())
    return reverse("django_cfg_tasks:health")


def test_a_stranger_learns_one_word(endpoint: str, client: Client) -> None:
    answer = client.get(endpoint)
    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})
    assert "no-store" in answer["Cache-Control"]


def test_staff_without_the_permission_learns_one_word_too(endpoint: str, client: Client) -> None:
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert client.get(endpoint).json() == {"status": "unhealthy"}


def test_whoever_may_see_workers_gets_the_reasons(endpoint: str, client: Client) -> None:
    user = get_user_model().objects.create_user("op")
    user.user_permissions.add(Permission.objects.get(codename="view_worker"))
    client.force_login(user)
    body = client.get(endpoint).json()
    assert set(body) == {"status", "reasons", "broker_latency_ms", "queues", "workers"}
    assert body["reasons"] == [{"status": "unhealthy", "text": "0 workers live, expected at least 1"}]


def test_a_broker_in_trouble_is_an_answer_and_no_crash(
    endpoint: str, client: Client, stub: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise BrokerUnreachable("redis://:***@secret-host:6379 does not answer")

    monkeypatch.setattr(stub, "queue_stats", away)
    answer = client.get(endpoint)
    assert (answer.status_code, answer.content) == (503, b'{"status": "unhealthy"}')


def test_disabled_tasks_answer_200(endpoint: str, client: Client, settings: Any) -> None:
    settings.DJANGO_CFG_TASKS = {"enabled": False}
    answer = client.get(endpoint)
    assert (answer.status_code, answer.json()) == (200, {"status": "disabled"})


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_the_endpoint_only_reads(endpoint: str, client: Client, method: str) -> None:
    assert getattr(client, method)(endpoint).status_code == 405


def test_the_report_reads_brokers_and_registry(stub: EngineBroker) -> None:
    assert health.report().status is Status.UNHEALTHY
    assert health.report().facts.workers == ()
