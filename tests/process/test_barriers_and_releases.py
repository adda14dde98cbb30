"""Groups whose process dies at the barrier, and releases that meet each other's messages."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project

pytestmark = [pytest.mark.process, pytest.mark.faults]
#: Ends its process where the last member of a group is counted, the first time that this happens.
BARRIER = """

broker = dramatiq.get_broker()
arrive = broker.arrive


def die_once():
    try:
        (HERE / "died").touch(exist_ok=False)  # one of two processes that arrive at the same moment
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)


def dying(group_id, member_id):
    if {moment!r} == "before":
        die_once()
    is_last = arrive(group_id, member_id)
    if is_last:
        die_once()
    return is_last


broker.arrive = dying
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_group_whose_process_dies_at_its_barrier_is_completed_once(
    project: Project, store: dict[str, Any], moment: str
) -> None:
    project.write(**store, processes=2, threads=2)
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write(BARRIER.format(moment=moment))
    workers = project.start()
    project.run(
        "members = dramatiq.group([short.message(20) for _ in range(6)])\n"
        "members.add_completion_callback(mail.message())\n"
        "members.run()"
    )
    eventually(lambda: "mail" in [line.task for line in project.ledger() if line.word == "end"], within_s=30)
    eventually(lambda: not project.counts(), within_s=20)
    assert workers.stop() == 0
    assert (project.path / "died").exists()
    callbacks = [line.id for line in project.ledger() if line.word == "start" and line.task == "mail"]
    assert len(callbacks) == 1
    members = [line.id for line in project.ledger() if line.word == "start" and line.task == "short"]
    assert len(set(members)) == 6
    assert len(members) <= 6 + 2  # the threads of the process that died


NEXT = """

@dramatiq.actor
def later():
    note("start")
    note("end")
"""


def test_a_release_loses_nothing_that_the_next_one_has_sent(project: Project, store: dict[str, Any]) -> None:
    """A task that this release lacks, and an argument that its task does not take yet."""
    project.write(**store, processes=1, threads=2, max_retries=50, max_backoff=1_000)
    workers = project.start()
    sent = project.run(
        "broker = dramatiq.get_broker()\n"
        "print(broker.enqueue(dramatiq.Message('default', 'later', (), {}, {})).message_id)\n"
        "print(short.send(1, urgent=True).message_id)\n"
        "print(quick.send().message_id)"
    )
    eventually(lambda: sent[2] in project.ids("end"), within_s=20)
    eventually(lambda: "short() got an unexpected keyword argument" in workers.log, within_s=20)
    tasks = project.path / "work" / "tasks.py"
    tasks.write_text(tasks.read_text().replace("def short(ms):", "def short(ms, urgent=False):") + NEXT)
    workers.signal(signal.SIGHUP)
    eventually(lambda: set(sent) <= set(project.ids("end")), within_s=40)
    assert set(project.ids("end").values()) == {1}
    eventually(lambda: not project.counts(), within_s=10)
    assert workers.stop() == 0
