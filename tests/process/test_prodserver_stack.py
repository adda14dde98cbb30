"""Web server and worker of one project, as the guide's complete stack has them: a request enqueues, the worker runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.installed import needs
from tests.process.prodserver_site import Site, free_port, get, stop, wait_until_it_answers

pytestmark = [pytest.mark.process, pytest.mark.servers]
TASKS = """
import time
from pathlib import Path
from django_cfg.tasks import task

@task()
def send_email(email_address, message):
    Path("email").write_text(f"{email_address}: {message}")
    return "sent"

@task(priority="high")
def urgent_task():
    Path("urgent").touch()

@task(queue="reports")
def generate_report():
    Path("report").touch()
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

from work.tasks import generate_report, send_email, urgent_task

def order(request):
    result = send_email.delay("user@example.com", "Hello!")
    urgent_task.delay()
    generate_report.delay()
    return HttpResponse(result.id)

def outcome(request, id):
    result = send_email.get_result(id)
    return HttpResponse(result.get() if result.ready() else "not yet")

urlpatterns = [
    path("", lambda request: HttpResponse("hello")),
    path("order", order),
    path("outcome/<id>", outcome),
]
"""
WORKER = "django_prodserver.backends.django_tasks.DjangoTasksWorker"
WORKERS: dict[str, list[dict[str, Any]]] = {
    "minimal": [{}],
    "recommended": [{"processes": "4", "threads": "1"}],
    "each core": [{"processes": str(os.cpu_count())}],
    "low volume": [{"processes": "1", "threads": "2"}],
    "all queues": [{"processes": "2", "threads": "2", "verbosity": "1"}],
    "a worker each": [{"queue": "default", "processes": "1"}, {"queue": "reports", "processes": "1"}],
}


@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
def test_a_request_enqueues_what_the_worker_runs(tmp_path: Path, workers: list[dict[str, Any]]) -> None:
    needs("gunicorn")
    port = free_port()
    web = {"BACKEND": "django_prodserver.backends.gunicorn.GunicornServer", "ARGS": {"bind": f"127.0.0.1:{port}"}}
    entries = {f"worker{number}": {"BACKEND": WORKER, "ARGS": args} for number, args in enumerate(workers)}
    site = Site(tmp_path / "site", {"web": web, **entries})
    site.add_settings('TASKS = {"default": {"BACKEND": "django_cfg.tasks.backends.EngineBackend", "QUEUES": []}}')
    (site.directory / "work" / "tasks.py").write_text(TASKS)
    (site.directory / "site_urls.py").write_text(URLS)
    assert site.run("migrate", "-v0")[0] == 0

    with site.running("prodserver", "--all", "--skip-checks") as process:
        wait_until_it_answers(port, process)
        id = get(port, "/order")
        eventually(lambda: get(port, f"/outcome/{id}") == "sent", within_s=30)
        eventually(lambda: all((site.directory / name).exists() for name in ("urgent", "report")), within_s=30)
        code, output = stop(process)

    assert code == 0, output
    assert (site.directory / "email").read_text() == "user@example.com: Hello!"
    eventually(site.has_nothing_left, within_s=10)
