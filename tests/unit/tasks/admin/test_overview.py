"""The overview tells what is wrong, what failed and what runs, reads no record, and shows no more than one may see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_cfg.errors import BrokerUnreachable
from django_cfg.tasks import actions
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.models import ErrorGroup, TaskRecord
from tests.unit.tasks.admin.conftest import announce, bury, login, record, tally, url

pytestmark = pytest.mark.django_db(transaction=True)


def sections(page: Any) -> dict[str, list[list[str]]]:
    return {
        section.title.split(",")[0].split(" since")[0]: [
            [cell.text for cell in row.cells] for row in section.listing.rows
        ]
        for section in page.context["sections"]
    }


def fail(fault: str, hours_ago: float) -> None:
    at = timezone.now() - timedelta(hours=hours_ago)
    ErrorGroup.objects.create(
        fingerprint=fault, task="charge", queue="mail", error_type="Refused", seen=3, first_seen=at, last_seen=at
    )


def test_all_is_on_one_page(operator: Client, broker: EngineBroker) -> None:
    bury(broker, "charge", "mail")
    actions.pause("mail")
    announce("here", "export", "charge")
    fail("new", 0.5)
    fail("old", 2)
    tally("export")
    tally("charge", "mail", dead=4)
    page = operator.get(url("overview"))
    found = sections(page)
    assert page.context["verdict"] == "Healthy"
    assert {name: cell.text for name, cell in page.context["numbers"]} == {
        "Waiting": "0", "Oldest waits": "-", "Running": "0", "Scheduled": "0", "Retrying": "0", "Dead letters": "1",
        "Workers": "1",
    }  # fmt: skip
    assert [row[:2] for row in found["Queues"] if row[0] == "mail"] == [["mail", "paused"]]
    assert [row[0] for row in found["Runs now"]] == ["export", "charge"]
    assert [row[1] for row in found["Failures of the last hour"]] == ["3"]
    assert [row[:5] for row in found["Tasks"]] == [
        ["charge", "mail", "10", "0", "4"],
        ["export", "default", "10", "0", "0"],
    ]
    assert "private, no-store" in page.headers["Cache-Control"]


def test_what_is_wrong_comes_first(operator: Client, broker: EngineBroker) -> None:
    page = operator.get(url("overview"))
    assert page.context["verdict"].startswith("Unhealthy")
    assert page.context["reasons"] == ["0 workers live, expected at least 1"]
    assert "Start some: python manage.py rundramatiq" in page.content.decode()
    announce("here")
    announce("gone", silent_s=60)
    page = operator.get(url("overview"))
    assert page.context["verdict"].startswith("Degraded")
    assert dict(page.context["numbers"])["Lost workers"].text == "1"


def test_each_part_wants_the_permission_of_its_own_page(client: Client, broker: EngineBroker) -> None:
    bury(broker, "charge", "mail")
    fail("new", 0.5)
    login(client, "view_overview", "view_errorgroup")
    page = client.get(url("overview"))
    assert list(sections(page)) == ["Failures of the last hour"] and page.context["numbers"] == []
    assert client.post(url("overview"), {"act": "retry"}).status_code == 405


def test_a_broker_that_is_away_is_named_and_the_rest_is_shown(
    operator: Client, broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise BrokerUnreachable("Redis at cache:6379 does not answer")

    announce("here", "export")
    monkeypatch.setattr(broker, "queue_stats", away)
    page = operator.get(url("overview"))
    assert "Redis at cache:6379 does not answer" in page.content.decode()
    assert [row[0] for row in sections(page)["Runs now"]] == ["export"]


def test_no_record_is_read(operator: Client, broker: EngineBroker) -> None:
    record(bury(broker), "dead_letter")
    operator.get(url("overview"))
    with CaptureQueriesContext(connection) as asked:
        operator.get(url("overview"))
    assert not [q["sql"] for q in asked if TaskRecord._meta.db_table in q["sql"]]
    assert len(asked) < 15
