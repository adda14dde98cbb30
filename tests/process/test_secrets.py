"""A canary in arguments, nested values, error texts and the broker's URL appears nowhere that people look."""

from __future__ import annotations

import json
import re
import sqlite3
import urllib.request
from pathlib import Path

import pytest
from django.conf import settings

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SQLITE_OPTIONS, Project, Workers

CANARY = "canary-7f3a-secret"
#: What a worker needs whole, until it has run or its dead letter is cleared; and what a task gives to its sender.
WHOLE = {
    *(("django_cfg_tasks_queuemessage", "body"), ("django_cfg_tasks_deadletter", "body")),
    ("django_cfg_tasks_taskresult", "body"),
}

TASKS = f"""
import logging
import dramatiq
from django_cfg.tasks import Secret


@dramatiq.actor(max_retries=1, min_backoff=100, max_backoff=1000)
def leaky(password, nested, marked: Secret[str], url):
    logging.getLogger("shop").error("asked with %s and %s", password, nested)
    raise ValueError(f"refused {{password}} {{nested['deep'][0]['api_token']}} {{marked}} at {{url}}")


@dramatiq.actor
def fine(token):
    logging.getLogger("shop").warning("took %s", token)
    return {{"session_token": token, "ok": True}}


@dramatiq.actor(max_retries=0)
def thrown():
    raise ConnectionError("https://me:{CANARY}@host/ said password={CANARY} Authorization: Bearer {CANARY}")
"""

SEND = f"""
from work.leaks import fine, leaky, thrown
for sent in (
    leaky.send("{CANARY}", {{"deep": [{{"api_token": "{CANARY}"}}]}}, marked="{CANARY}", url="smtp://u:{CANARY}@h/"),
    fine.send("{CANARY}"),
    thrown.send(),
):
    print(sent.message_id)
"""

PAGES = f"""
import logging
logging.disable(logging.CRITICAL)
from django.contrib.auth import get_user_model
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
get_user_model().objects.create_superuser("op", "op@example.com", "x")
client = Client(headers={{"host": "localhost"}})
client.login(username="op", password="x")
from django.contrib import admin
for model in admin.site._registry:
    if model._meta.app_label != "django_cfg_tasks":
        continue
    address = f"/admin/django_cfg_tasks/{{model._meta.model_name}}/"
    listing = client.get(address)
    assert listing.status_code == 200, address
    bodies = [listing.content.decode()]
    own = listing.context.get("listing")  # the page of schedules is Django's; the overview has many lists
    theirs = getattr(listing.context.get("cl"), "result_list", ())
    keys = [row.key for row in own.rows] if own else [row.pk for row in theirs]
    for key in keys:
        bodies.append(client.get(f"{{address}}{{key}}/change/").content.decode())
    print(len(bodies), "{CANARY}" in "".join(bodies))
"""

pytestmark = [pytest.mark.process, pytest.mark.redis]


def everything_stored(file: Path) -> dict[tuple[str, str], str]:
    """All texts of a database by table and column."""
    with sqlite3.connect(file) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[tuple[str, str], str] = {}
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in rows.description]
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    found[table, name] = f"{found.get((table, name), '')}\n{value}"
        return found


def site(project: Project) -> None:
    """The generated project with admin pages."""
    project.write(admin_enabled=True, processes=1, max_retries=1, prometheus_enabled=True)
    (project.path / "work" / "tasks.py").write_text("from work.leaks import *\n")
    (project.path / "work" / "leaks.py").write_text(TASKS)
    (project.path / "urls.py").write_text(
        "from django.contrib import admin\nfrom django.urls import path\n"
        "urlpatterns = [path('admin/', admin.site.urls)]\n"
    )
    with (project.path / "settings.py").open("a") as file:
        file.write(f"""
INSTALLED_APPS += ["django.contrib." + name for name in ("admin", "auth", "contenttypes", "sessions", "messages")]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {{
    "context_processors": ["django.template.context_processors.request",
                           "django.contrib.auth.context_processors.auth",
                           "django.contrib.messages.context_processors.messages"]}}}}]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
DATABASES["default"]["OPTIONS"] = {SQLITE_OPTIONS!r}
""")
    project.manage("migrate", "-v0")


def numbers(workers: Workers) -> str:
    """What Prometheus gets."""
    found = re.search(r"Metrics are served on (\S+)\.", workers.log)
    assert found, workers.log
    with urllib.request.urlopen(found[1], timeout=10) as answer:
        return str(answer.read().decode())


def test_a_secret_shows_up_in_no_log_no_table_no_number_no_document_and_no_page(project: Project) -> None:
    site(project)
    ids = project.run(SEND)
    workers = project.start(dramatiq_prom_port="0")
    eventually(lambda: project.counts()["dead"] == 2, within_s=40)
    metrics = numbers(workers)
    assert 'dramatiq_tasks_total{status="dead_letter",task_name="leaky"} 1.0' in metrics and CANARY not in metrics
    shown = [project.manage("dramatiq_tasks", "show", message_id, "--json").stdout for message_id in ids]
    shown += [project.manage(*words, check=False).stdout for words in (
        ("dramatiq_tasks", "list", "--json"), ("dramatiq_tasks", "failures", "--json"), ("dramatiq_tasks", "audit"),
        ("dramatiq_status", "--verbose", "--json"), ("dramatiq_workers", "--json"),
        *(("dramatiq_doctor", message_id, "--json") for message_id in ids[::2]),
    )]  # fmt: skip
    assert [json.loads(text)["task"]["state"] for text in shown[:3]] == ["dead_letter", "completed", "dead_letter"]
    assert not [text for text in shown if CANARY in text]
    pages = [line for line in project.run(PAGES) if line in ("True", "False")]
    assert len(pages) == 9 and set(pages) == {"False"}
    assert workers.stop() == 0
    said = "\n".join(line for line in workers.log.splitlines() if "shop" not in line)
    assert CANARY not in said  # what the project's own logger was told to print is its own affair
    stored = everything_stored(project.path / "db")
    assert [place for place, text in stored.items() if CANARY in text and place not in WHOLE] == []
    assert stored["django_cfg_tasks_taskresult", "body"].count(CANARY) == 1  # not in the results of those that failed
    errors = [
        json.loads(body)["options"]["errors"] for body in stored["django_cfg_tasks_deadletter", "body"].split("\n")[1:]
    ]
    assert CANARY not in json.dumps(errors)


def test_the_password_of_the_broker_s_url_is_never_shown(project: Project) -> None:
    project.write(processes=1)
    url = f"redis://:{CANARY}@{settings.REDIS_HOST}:{settings.REDIS_PORT}/9"
    with (project.path / "settings.py").open("a") as file:
        file.write(f'\nDRAMATIQ_BROKER = {{"OPTIONS": {{"url": {url!r}}}}}\n')
    said = [
        project.manage(*words, check=False)
        for words in (("dramatiq_status",), ("check", "--database", "default"), ("dramatiq_tasks", "pause", "x"))
    ]
    assert not [done for done in said if CANARY in done.stdout + done.stderr]
