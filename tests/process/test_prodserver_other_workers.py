"""Workers of other queues: started by `prodserver` with the options of their entry, ready, and ended by SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from django_cfg.testing.waiting import eventually
from tests.installed import needs
from tests.process.prodserver_site import Site, catches, free_port, stop, wait_for_line

pytestmark = [pytest.mark.process, pytest.mark.servers]
PREFIX = "django_prodserver.backends."
CELERY = """
from celery import Celery

app = Celery("work", broker="memory://")
"""
JOBS = """
from pathlib import Path

def leave_note(name):
    Path(name).write_text("done")
"""


def run(site: Site, ready: str) -> str:
    """Everything that the process said, from its start over `ready` to its clean end."""
    with site.running("prodserver", "it", "--skip-checks") as process:
        before = wait_for_line(process, ready)
        eventually(lambda: catches(process, signal.SIGTERM))
        code, after = stop(process)
        assert code == 0, after
        eventually(site.has_nothing_left, within_s=10)
    return "\n".join([*before, after])


@pytest.mark.parametrize(
    ("backend", "args", "ready"),
    [
        (
            "celery.CeleryWorker",
            {"concurrency": 1, "pool": "solo", "queues": ["a", "b"], "loglevel": "info", "without-gossip": True},
            r"ready\.",
        ),
        ("workers.celery.CeleryBeat", {"loglevel": "DEBUG", "schedule": "beat"}, "beat: Ticking"),
        ("servers.flower.CeleryFlower", {"port": "PORT", "address": "127.0.0.1", "debug": False}, "Visit me at"),
    ],
)
def test_celery(tmp_path: Path, backend: str, args: dict[str, Any], ready: str) -> None:
    needs("flower" if "Flower" in backend else "celery")
    written = {name: free_port() if value == "PORT" else value for name, value in args.items()}
    site = Site(tmp_path / "site", {"it": {"BACKEND": PREFIX + backend, "APP": "work.queue", "ARGS": written}})
    (site.directory / "work" / "queue.py").write_text(CELERY)

    output = run(site, ready)

    assert "Traceback" not in output
    if backend.endswith("Worker"):
        assert ".> a " in output and ".> b " in output


def test_django_q2(tmp_path: Path) -> None:
    needs("django_q")
    site = Site(tmp_path / "site", {"it": {"BACKEND": PREFIX + "workers.django_q2.DjangoQ2Worker", "ARGS": {}}})
    site.add_settings('INSTALLED_APPS += ["django.contrib.contenttypes", "django_q"]')
    site.add_settings('Q_CLUSTER = {"name": "it", "orm": "default", "workers": 1, "timeout": 60, "retry": 90}')
    assert site.run("migrate", "-v0")[0] == 0

    assert "stopped" in run(site, "running")


def test_huey(tmp_path: Path) -> None:
    needs("huey")
    args = {"workers": 2, "worker-type": "thread", "no_periodic": True}
    site = Site(tmp_path / "site", {"it": {"BACKEND": PREFIX + "huey.HueyWorker", "ARGS": args}})
    site.add_settings('INSTALLED_APPS += ["huey.contrib.djhuey"]')
    site.add_settings(
        'HUEY = {"huey_class": "huey.SqliteHuey", "name": "it", "filename": "huey.db", "immediate": False}'
    )

    assert "started with 2 thread" in run(site, "Periodic tasks are disabled")


@pytest.fixture
def rq_queue(tmp_path: Path) -> Iterator[str]:
    """The name of a queue that no other test run uses; its keys go when the test ends."""
    name = f"{settings.REDIS_PREFIX}-{tmp_path.name}"
    yield name
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.srem("rq:queues", f"rq:queue:{name}")
    for key in client.scan_iter(f"rq:*{name}*"):
        client.delete(key)
    client.close()


@pytest.mark.redis
def test_rq_runs_a_job(tmp_path: Path, rq_queue: str) -> None:
    needs("django_rq")
    queue = rq_queue
    entry = {"BACKEND": PREFIX + "rq.RQWorker", "ARGS": {"queues": [queue], "worker-class": "rq.SimpleWorker"}}
    site = Site(tmp_path / "site", {"it": entry})
    site.add_settings('INSTALLED_APPS += ["django_rq"]')
    site.add_settings(f'RQ_QUEUES = {{"{queue}": {{"URL": "{settings.REDIS_URL}"}}}}')
    (site.directory / "work" / "jobs.py").write_text(JOBS)
    send = f"import django_rq; django_rq.get_queue({queue!r}).enqueue('work.jobs.leave_note', 'rq-was-here')"
    code, output = site.run("shell", "-c", send)
    assert code == 0, output

    with site.running("prodserver", "it", "--skip-checks") as process:
        wait_for_line(process, "Listening on")
        eventually((site.directory / "rq-was-here").exists)
        code, after = stop(process)
        assert code == 0, after
        eventually(site.has_nothing_left, within_s=10)
