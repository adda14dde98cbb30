"""Dead letters are retried while workers run and one is killed: each runs exactly once more, and none is lost."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project

pytestmark = pytest.mark.process
THREADS = 2
#: Outcomes that wait to be acknowledged are of messages that a worker holds, which are so many at most.
SENT_AHEAD = 512
BURY = """
broker = dramatiq.get_broker()
for message in broker.enqueue_many([ailing.message() for _ in range({count})]):
    print(message.message_id)
"""


def reached(project: Project, word: str, tasks: int) -> bool:
    """Waits until so many tasks have, and as long as more of them do: a busy machine is no failure."""
    while (now := len(project.ids(word))) < tasks:
        eventually(lambda was=now: len(project.ids(word)) > was, within_s=60)
    return now == tasks


def test_each_retried_dead_letter_runs_once_more_though_a_worker_is_killed(
    project: Project, store: dict[str, Any]
) -> None:
    count = 500 * SCALE
    project.write(**store, processes=2, threads=THREADS, max_deliveries=50)
    ids = project.run(BURY.format(count=count))
    workers = project.start(until=lambda w: len(w.children()) == 2)
    assert reached(project, "start", count)
    eventually(lambda: project.counts() == {"dead": count}, within_s=60)
    project.open_gate("healed")
    with ThreadPoolExecutor(1) as pool:
        retrying = pool.submit(project.manage, "dramatiq_retry_failed", "--json")
        eventually(lambda: len(project.ids("end")) >= count // 10, within_s=120)
        os.kill(workers.children()[0], signal.SIGKILL)
        said = json.loads(retrying.result().stdout)
    assert (said["matched"], said["retried"]) == (count, count)
    assert reached(project, "end", count) and set(project.ids("end")) == set(ids)
    eventually(lambda: not project.counts(), within_s=60)
    assert workers.stop() == 0
    extra = [number - 2 for number in project.ids("start").values() if number != 2]
    # What the killed process ran and, on RabbitMQ, what it had finished and not yet acknowledged: once more, not twice.
    most = SENT_AHEAD if str(store.get("url", "")).startswith("amqp") else THREADS
    assert set(extra) <= {1} and len(extra) <= most
