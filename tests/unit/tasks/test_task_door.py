"""Records under the names that people look for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_cfg.apps.tasks.models import Task
from django_cfg.tasks.lifecycle import State


@pytest.mark.django_db
def test_old_finished_tasks_can_be_deleted_by_created_at() -> None:
    now = timezone.now()
    for name, age in (("old", timedelta(days=40)), ("new", timedelta(days=1))):
        Task.objects.create(
            message_id=name, task="t", queue="q", state=State.COMPLETED, enqueued_at=now - age, updated_at=now
        )
    deleted, _ = Task.objects.filter(created_at__lt=now - timedelta(days=30), state=State.COMPLETED).delete()
    assert deleted == 1
    assert [task.message_id for task in Task.objects.order_by("created_at")] == ["new"]
