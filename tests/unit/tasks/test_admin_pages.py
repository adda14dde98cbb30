"""Admin pages show what happened, change nothing, and escape everything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from django_cfg.tasks.models import Attempt, DeadLetter, TaskRecord

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("op", "op@example.com", "x"))
    return client


def make_rows() -> None:
    TaskRecord.objects.create(message_id="1", task=EVIL, queue=EVIL, state="completed", enqueued_at=NOW)
    Attempt.objects.create(message_id="1", generation=1, fence=1, ended_as="retry", traceback=EVIL, ended_at=NOW)
    DeadLetter.objects.create(
        message_id="1",
        queue=EVIL,
        task=EVIL,
        body="{}",
        enqueued_at=1,
        died_at=1,
        generation=1,
        reason=EVIL,
        error=EVIL,
    )


@pytest.mark.parametrize("model", ["taskrecord", "attempt", "deadletter"])
def test_every_page_escapes_task_data(staff: Client, model: str) -> None:
    make_rows()
    listing = staff.get(f"/admin/django_cfg_tasks/{model}/")
    assert listing.status_code == 200
    assert EVIL not in listing.content.decode()
    row = {"taskrecord": TaskRecord, "attempt": Attempt, "deadletter": DeadLetter}[model]._default_manager.get()
    detail = staff.get(f"/admin/django_cfg_tasks/{model}/{row.pk}/change/")
    assert detail.status_code == 200
    assert EVIL not in detail.content.decode()


@pytest.mark.parametrize("model", ["taskrecord", "attempt", "deadletter"])
def test_pages_change_nothing(staff: Client, model: str) -> None:
    make_rows()
    assert staff.get(f"/admin/django_cfg_tasks/{model}/add/").status_code == 403
    assert staff.post(f"/admin/django_cfg_tasks/{model}/1/change/", {"reason": "x"}).status_code == 403
