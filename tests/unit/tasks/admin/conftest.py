"""A site with one of everything, every text of it hostile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.models import Attempt, ErrorGroup, Grain, OperatorAction, Rollup, TaskRecord, Worker
from django_cfg.testing.contracts import Client as BrokerClient
from django_cfg.testing.contracts import dead, message
from tests.unit.tasks.conftest import serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"
PAGES = ("taskrecord", "attempt", "errorgroup", "deadletter", "queue", "worker", "operatoraction", "overview")


@pytest.fixture
def broker(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("stub://", records="all")


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("op", "op@example.com", "x"))
    return client


def login(client: Client, *permissions: str) -> Client:
    """A member of the staff with these codenames."""
    user = get_user_model().objects.create_user("staff", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def bury(broker: EngineBroker, task: str = "work", queue: str = "default") -> str:
    sent = broker.enqueue(message(task, queue=queue))
    worker = BrokerClient(broker)
    worker.exchange(*[dead(claim) for claim in worker.claim(queues=(queue,))], count=0, queues=(queue,))
    return sent.message_id


def record(message_id: str, state: str = "completed", **more: Any) -> TaskRecord:
    known = {"task": "work", "queue": "default", "enqueued_at": NOW, "updated_at": NOW}
    return TaskRecord.objects.create(message_id=message_id, state=state, **{**known, **more})


def announce(host: str, *tasks: str, silent_s: float = 0) -> Worker:
    """A worker with these tasks on its threads."""
    now = timezone.now()
    running = [{"thread": n, "task": task, "message_id": f"m{n}", "for_s": 3.2} for n, task in enumerate(tasks, 1)]
    return Worker.objects.create(
        host_id=host, host=host, pid=4711, process_started="1", supervisor_pid=1, version="1.0", queues=["default"],
        threads=8, running=running, rss_bytes=64 * 2**20, started_at=now - timedelta(hours=1),
        heartbeat_at=now - timedelta(seconds=silent_s),
    )  # fmt: skip


def tally(task: str, queue: str = "default", dead: int = 0) -> Rollup:
    """What a task did in this hour."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    return Rollup.objects.create(
        grain=Grain.HOUR, starts_at=hour, queue=queue, task=task, attempts=10, completed=10 - dead, dead=dead,
        wait_ms_max=5, run_ms_max=70, run_ms_sum=500, waits='{"20": 10}', runs='{"40": 10}',
    )  # fmt: skip


def one_of_everything(broker: EngineBroker, evil: str = EVIL, fault: str = "f") -> dict[str, str]:
    """Rows whose every text is this; returns the key of each page's row, where it has a detail."""
    letter = bury(broker, evil, evil[:200])
    record(
        letter, "dead_letter", task=evil, queue=evil, worker=evil, arguments=evil, result=evil, reason=evil,
        error_type=evil, error=evil, fingerprint=fault, tags=evil, parent_id=evil[:64], retry_of=evil[:64], log=evil,
        progress_done=1, progress_note=evil,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        message_id=letter, generation=1, fence=1, ended_as="dead", error_type=evil, error=evil, traceback=evil,
        fingerprint=fault, log=evil, ended_at=NOW, worker=evil,
    )  # fmt: skip
    ErrorGroup.objects.create(
        fingerprint=fault, task=evil, queue=evil, error_type=evil, place=evil, error=evil, seen=1, first_seen=NOW,
        last_seen=NOW, newest_message_id=letter,
    )  # fmt: skip
    announce(evil[:200], evil)
    act = OperatorAction.objects.create(
        at=NOW, actor=evil, source="admin", action=evil[:40], target=evil, outcome="done", detail=evil
    )
    return {
        "taskrecord": letter,
        "attempt": str(attempt.pk),
        "errorgroup": fault,
        "deadletter": letter,
        "operatoraction": str(act.pk),
    }


def url(page: str, key: str = "") -> str:
    return f"/admin/django_cfg_tasks/{page}/" + (f"{key}/change/" if key else "")
