"""Workers on hosts whose clocks differ: leases and delays go by the clock of the broker."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project, other_clock

pytestmark = [pytest.mark.process, pytest.mark.faults]
AHEAD_S = 90
LEASE_MS = 5000
SEND_LATER = """
import time
message = mail.send_with_options(delay=15_000)
print(message.message_id, time.time())
"""


def corrected(project: Project, task: str, ahead: set[int]) -> float:
    """When a task started by the clock of this test."""
    [line] = [line for line in project.ledger() if line.word == "start" and line.id == task]
    return line.at - AHEAD_S if line.pid in ahead else line.at


def started_by(project: Project, tasks: list[str]) -> set[int]:
    return {line.pid for line in project.ledger() if line.word == "start" and line.id in tasks}


def test_workers_whose_clocks_differ_run_everything_once_and_nothing_early(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, threads=2, lease_ms=LEASE_MS)
    two = [project.start(), project.start(**other_clock(project, FAKETIME=f"+{AHEAD_S}s"))]
    of = [set(workers.children()) for workers in two]
    eventually(
        lambda: project.send("quick.send()") and all(pids & set(project.pids("end")) for pids in of), within_s=60
    )
    later, sent = project.run(SEND_LATER)
    long = project.send(*[f"short.send({3 * LEASE_MS})"] * 3)
    eventually(lambda: len(started_by(project, long)) == 2, within_s=60)
    brief = project.run("for _ in range(200): print(short.send(20).message_id)")
    eventually(lambda: {later, *long, *brief} <= set(project.ids("end")), within_s=90)
    eventually(lambda: not project.counts(), within_s=30)
    assert set(project.ids("start").values()) == set(project.ids("end").values()) == {1}
    if store:  # a queue in SQLite belongs to one host, which has one clock
        assert -0.5 < corrected(project, later, of[1]) - float(sent) - 15 < 5
    assert [set(workers.children()) for workers in two] == of
    assert "Lease lost" not in two[0].log + two[1].log and "Traceback" not in two[0].log + two[1].log
    assert [workers.stop() for workers in two] == [0, 0]
