"""Real worker processes are seen while they live, told apart when they are lost, and gone after a clean stop."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project, Workers

pytestmark = pytest.mark.process


def seen(project: Project) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = json.loads(project.manage("dramatiq_workers", "--json").stdout)["workers"]
    return workers


def both(project: Project) -> list[dict[str, Any]]:
    found = seen(project)
    return found if [worker["status"] for worker in found].count("idle") == 2 else []


def test_workers_are_seen_while_they_live_and_a_killed_one_is_lost(project: Project) -> None:
    project.write()
    assert project.manage("dramatiq_workers", "--check", check=False).returncode == 5
    workers: Workers = project.start()
    first = eventually(lambda: both(project), within_s=20)
    assert {worker["supervisor_pid"] for worker in first} == {workers.pid}
    assert project.manage("dramatiq_workers", "--check", "--min", "2", "--local").returncode == 0

    (message_id,) = project.send("gated.send('gate')")
    (busy,) = eventually(lambda: [w for w in seen(project) if w["running"]], within_s=20)
    assert [(task["task"], task["message_id"]) for task in busy["running"]] == [("gated", message_id)]

    os.kill(busy["pid"], signal.SIGKILL)
    lost = eventually(lambda: [w for w in seen(project) if w["status"] == "lost"], within_s=20)
    assert [worker["pid"] for worker in lost] == [busy["pid"]]
    project.open_gate()
    eventually(lambda: project.ids("end")[message_id] == 1, within_s=20)
    assert workers.stop() == 0
    assert [worker["status"] for worker in seen(project)] == ["lost"]
