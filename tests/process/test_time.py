"""Backoffs, transactions and leases, with real clocks."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project

pytestmark = pytest.mark.process


def test_a_retry_is_stored_and_waits_its_backoff(project: Project) -> None:
    project.write(processes=1)
    [task] = project.send("failing.send(1)")
    workers = project.start()
    eventually(lambda: project.ids("start") == {task: 1})
    eventually(lambda: project.counts()["retrying"] == 1)
    workers.signal(signal.SIGKILL)  # a retry that stood in a worker's memory would be gone
    workers.wait()
    project.start()
    eventually(lambda: project.ids("start") == {task: 3}, within_s=40)
    moments = [line.at for line in project.ledger()]
    assert all(later - sooner >= 1.95 for sooner, later in pairwise(moments))
    eventually(lambda: project.counts() == {"dead": 1})


def test_a_task_of_a_rolled_back_transaction_never_runs_and_one_of_a_slow_commit_not_before_it(
    project: Project,
) -> None:
    project.write(processes=1)
    project.start()
    code = """
from django.db import transaction
import time
try:
    with transaction.atomic():
        print(quick.send().message_id)
        raise KeyError
except KeyError:
    pass
with transaction.atomic():
    print(quick.send().message_id)
    time.sleep(0.7)
    before = time.time()
print(before)
print(quick.send().message_id)
"""
    never, slow, committed, last = project.run(code)
    eventually(lambda: project.ids("end") == {slow: 1, last: 1})
    assert never not in project.ids("start")
    assert min(line.at for line in project.ledger()) >= float(committed) - 0.001


@pytest.fixture
def two_hosts(project: Project, postgres: dict[str, Any]) -> Project:
    return project.write(database=postgres, lease_ms=5000, processes=1, threads=1)


@pytest.mark.postgres
def test_a_worker_stopped_beyond_its_lease_loses_its_task_and_its_late_outcome_is_refused(two_hosts: Project) -> None:
    [task] = two_hosts.send("gated.send('gate')")
    stopped = two_hosts.start(until=lambda w: two_hosts.ids("start"))
    [child] = stopped.children()
    os.kill(child, signal.SIGSTOP)
    try:
        two_hosts.start()
        eventually(lambda: two_hosts.ids("start") == {task: 2}, within_s=20)
        two_hosts.open_gate()
        eventually(lambda: two_hosts.ids("end") == {task: 1})
        eventually(lambda: not two_hosts.counts().total())
    finally:
        os.kill(child, signal.SIGCONT)
    eventually(lambda: "session" in stopped.log and "Lease lost" in stopped.log)
    assert stopped.stop() == 0
    assert two_hosts.ids("start") == {task: 2}
    assert not two_hosts.counts().total()
