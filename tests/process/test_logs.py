"""A reader that stops reading the log stops no task and no signal; lines inside tasks name their task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project, is_running

pytestmark = pytest.mark.process
COUNT = 600 * SCALE
CHATTY = """

import logging


@dramatiq.actor
def chatty(secret):
    note("start")
    logging.getLogger("shop").warning("a line %s", "x" * 400)
    note("end")
"""


@pytest.fixture
def chatting(project: Project) -> Project:
    project.write()
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write(CHATTY)
    return project


@pytest.fixture
def unread(chatting: Project) -> Iterator[subprocess.Popen[bytes]]:
    """Workers whose output goes into a pipe that nobody reads."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "rundramatiq"],
        cwd=chatting.path,
        env=chatting._env(),
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    os.close(reader)


def test_tasks_go_on_and_signals_work_while_nobody_reads_the_log(
    chatting: Project, unread: subprocess.Popen[bytes]
) -> None:
    chatting.run(f"dramatiq.get_broker().enqueue_many([chatty.message('s') for _ in range({COUNT})])")
    eventually(lambda: len(chatting.ids("end")) == COUNT, within_s=90)
    unread.send_signal(signal.SIGTERM)
    assert unread.wait(30) == 0


def test_a_dead_worker_is_replaced_while_nobody_reads_the_log(
    chatting: Project, unread: subprocess.Popen[bytes]
) -> None:
    chatting.run(f"dramatiq.get_broker().enqueue_many([chatty.message('s') for _ in range({COUNT})])")
    eventually(lambda: len(chatting.ids("end")) == COUNT, within_s=90)
    before = set(chatting.pids("end"))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    chatting.send("quick.send()")
    eventually(lambda: set(chatting.pids("end")) - before, within_s=60)
    assert is_running(unread.pid)


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def test_json_lines_name_the_task_and_its_id_and_no_argument(chatting: Project) -> None:
    workers = chatting.start("--log-format", "json")
    (chatty, failing) = chatting.send("chatty.send('hush-hush')", "failing.send('hush-hush')")
    eventually(lambda: {chatty, failing} <= {line.get("message_id") for line in lines(workers.log)}, within_s=20)
    assert workers.stop() == 0
    found = [line for line in lines(workers.log) if line.get("message_id") == chatty]
    assert [(line["task"], line["logger"], line["level"]) for line in found] == [("chatty", "shop", "WARNING")]
    errors = [line for line in lines(workers.log) if line.get("message_id") == failing and "error" in line]
    assert "ValueError: on purpose" in errors[0]["error"]
    assert "hush-hush" not in workers.log


def test_text_lines_name_the_task_and_its_id(chatting: Project) -> None:
    workers = chatting.start()
    (message_id,) = chatting.send("chatty.send('s')")
    eventually(lambda: f"xxx [chatty {message_id}]" in workers.log, within_s=20)
    assert workers.stop() == 0


def test_a_format_of_the_project_that_names_the_task_is_left_alone(chatting: Project) -> None:
    settings = Path(chatting.path / "settings.py")
    settings.write_text(
        settings.read_text()
        + """
LOGGING = {
    "version": 1, "disable_existing_loggers": False,
    "formatters": {"own": {"format": "OWN {message_id} {levelname} {message:.6}", "style": "{"}},
    "filters": {"task": {"()": "django_cfg.tasks.log.context.TaskContext"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "own", "filters": ["task"]}},
    "root": {"handlers": ["out"], "level": "INFO"},
}
"""
    )
    workers = chatting.start()
    (message_id,) = chatting.send("chatty.send('s')")
    eventually(lambda: f"OWN {message_id} WARNING a line\n" in workers.log, within_s=20)
    assert workers.stop() == 0
