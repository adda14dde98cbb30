"""Workers announce themselves, and everybody can tell the active, the idle and the lost apart."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.db.models.functions import Now

from django_cfg.tasks import queries
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.models import Worker
from django_cfg.tasks.worker import registry, roster
from django_cfg.tasks.worker.registry import announced
from django_cfg.testing.contracts import QUEUE, declare, working
from django_cfg.testing.contracts.tools import dead_process
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    yield
    connections.close_all()


def seen(**more: Any) -> Worker:
    """A row of some worker."""
    me = identity()
    given = {
        "host_id": me.host_id,
        "host": "web-1",
        "pid": me.pid,
        "process_started": me.process_started,
        "supervisor_pid": 1,
        "version": "1",
        "queues": ["default"],
        "threads": 2,
        "started_at": Now() - timedelta(minutes=5),
        "heartbeat_at": Now(),
    }
    return Worker.objects.create(**{**given, **more})


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("dramatiq_workers", *words, stdout=out)
    return out.getvalue().strip()


def refusal(*words: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value


def test_a_worker_shows_what_its_threads_run_and_leaves_no_row_behind(
    sqlite_broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LOOK_S", 0.05)
    gate = threading.Event()

    def gated() -> None:
        gate.wait(20)

    message = declare(gated).send()
    with working(sqlite_broker, threads=2) as worker, announced(worker):
        (found,) = eventually(lambda: [w for w in queries.workers() if w.running])
        (task,) = found.running
        assert (found.status, found.pid, found.threads) == ("active", identity().pid, 2)
        assert (task.task, task.message_id, QUEUE in found.queues) == ("gated", message.message_id, True)
        assert found.rss_bytes is None or found.rss_bytes > 1_000_000
        gate.set()
        eventually(lambda: [w.status for w in queries.workers()] == ["idle"])
    assert queries.workers() == []


def test_a_database_in_trouble_costs_the_picture_and_no_task(
    sqlite_broker: EngineBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("no such table")

    monkeypatch.setattr(registry, "LOOK_S", 0.01)
    monkeypatch.setattr(registry.Announcer, "_write", away)
    done = threading.Event()

    def noted() -> None:
        done.set()

    task = declare(noted)
    with working(sqlite_broker) as worker, announced(worker):
        task.send()
        assert done.wait(10)
        eventually(lambda: "cannot announce itself" in caplog.text)
    assert caplog.text.count("cannot announce itself") == 1


def test_a_swept_row_comes_back_with_the_next_heartbeat(
    sqlite_broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LOOK_S", 0.01)
    monkeypatch.setattr(registry, "HEARTBEAT_S", 0.05)
    with working(sqlite_broker) as worker, announced(worker):
        eventually(queries.workers)
        Worker.objects.all().delete()
        eventually(queries.workers)


def test_a_silent_worker_of_another_host_is_lost_and_one_that_speaks_is_not() -> None:
    seen(host_id="elsewhere", host="a", heartbeat_at=Now() - timedelta(seconds=roster.LOST_AFTER_S + 5))
    seen(host_id="elsewhere", host="b", heartbeat_at=Now() - timedelta(seconds=roster.LOST_AFTER_S - 15))
    lost, idle = queries.workers()
    assert (lost.status, idle.status) == ("lost", "idle")
    assert roster.LOST_AFTER_S < lost.heartbeat_age_s < roster.LOST_AFTER_S + 60


def test_a_dead_process_of_this_host_is_lost_at_once_and_runs_nothing() -> None:
    gone = dead_process()
    running = [{"thread": 1, "task": "t", "message_id": "m", "for_s": 1}]
    seen(host_id=gone.host_id, pid=gone.pid, process_started=gone.process_started, running=running)
    (found,) = queries.workers()
    assert (found.status, found.running) == ("lost", ())


def test_lost_workers_are_swept_after_ten_minutes_and_not_before() -> None:
    seen(host="old", heartbeat_at=Now() - timedelta(seconds=registry.KEEP_LOST_S + 60))
    seen(host="new", heartbeat_at=Now() - timedelta(seconds=registry.KEEP_LOST_S - 60))
    registry.sweep()
    assert [worker.host for worker in queries.workers()] == ["new"]


def test_without_workers_the_command_says_how_to_start_some() -> None:
    assert run() == "No workers. Start some: python manage.py rundramatiq"


def test_workers_that_were_not_asked_for_are_not_denied() -> None:
    seen()
    start = "Start some: python manage.py rundramatiq"
    assert run("--queue", "exprots") == f"No worker serves exprots. {start}"
    assert run("--queue", "a,b", "--local") == f"No worker of this host serves a, b. {start}"


def test_the_table_names_every_task_that_runs() -> None:
    seen(running=[{"thread": 2, "task": "mail", "message_id": "m-1", "for_s": 3}], rss_bytes=64 * 2**20)
    header, worker, task, total = run().splitlines()
    assert header.split() == ["worker", "status", "busy", "memory", "up", "seen", "queues"]
    assert worker.split()[1:4] == ["active", "1/2", "64"]
    assert task.strip().startswith("thread 2: mail m-1 for 3.")
    assert total == "Workers: 1 active, 0 idle, 0 lost"


def test_json_has_stable_keys() -> None:
    seen()
    found = json.loads(run("--json"))
    assert found["schema"] == 1
    assert set(found["workers"][0]) == {
        "host", "pid", "supervisor_pid", "status", "version", "queues", "threads", "running", "rss_bytes",
        "uptime_s", "heartbeat_age_s", "is_local",
    }  # fmt: skip


def test_a_check_passes_on_living_workers_and_fails_with_5_on_lost_ones() -> None:
    seen(host="one")
    assert run("--check") == "Workers: 0 active, 1 idle, 0 lost"
    error = refusal("--check", "--min", "2")
    assert error.returncode == 5
    assert "expected at least 2" in str(error)
    Worker.objects.update(heartbeat_at=Now() - timedelta(minutes=2))
    assert refusal("--check").returncode == 5


def test_a_check_looks_only_at_the_asked_queue_and_host() -> None:
    seen(queues=["mail", "default"])
    seen(host_id="elsewhere", queues=["exports"])
    assert run("--check", "--queue", "exports").endswith("1 idle, 0 lost")
    assert refusal("--check", "--queue", "exports", "--local").returncode == 5
    assert refusal("--check", "--queue", "other").returncode == 5
    assert run("--check", "--local", "--queue", "mail,other").endswith("1 idle, 0 lost")
