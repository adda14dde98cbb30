"""Much at once: poison among good messages, and far delays before near ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import SCALE, Project, Workers

pytestmark = [pytest.mark.process, pytest.mark.faults]
GOOD = 500 * SCALE
FAR, NEAR = 5_000 * SCALE, 50 * SCALE

SEND_GOOD = (
    "print(*(m.message_id for m in dramatiq.get_broker().enqueue_many(short.message(5) for _ in range({count}))))"
)
#: As many that cannot run, in turn: no JSON, no message, a name of the wrong kind, a task that nobody knows.
SEND_MIXED = """
broker = dramatiq.get_broker()
texts = ['not JSON', '[1, 2, 3]', '{{"queue_name": "default", "actor_name": 3}}']
encode = broker.encode

def spoil(message):
    kind = message.options.get("tag")
    return encode(message) if kind is None else texts[kind] if kind < len(texts) else encode(message.copy(options={{}}))

broker.encode = spoil
batch = []
for n in range({count}):
    good, bad = short.message(5), dramatiq.Message("default", "nowhere", (), {{}}, {{"tag": n % 4}})
    print(good.message_id)
    batch += [good, bad]
for start in range(0, len(batch), 1000):
    broker.enqueue_many(batch[start:start + 1000])
"""


def ended(project: Project) -> int:
    """How many tasks have; reads the ledger as bytes, because that is done often."""
    try:
        return (project.path / "ledger").read_bytes().count(b"end ")
    except FileNotFoundError:
        return 0


def rate(project: Project, ids: list[str]) -> float:
    """Good tasks a second, from the first to the last that ended."""
    wanted = set(ids)
    moments = [line.at for line in project.ledger() if line.word == "end" and line.id in wanted]
    assert len(moments) == len(wanted)
    return len(wanted) / (max(moments) - min(moments))


def drained(project: Project, code: str, dead: int = 0) -> list[str]:
    """Good tasks that were sent before the workers start, when they have ended and the dead are buried."""
    before = ended(project)
    ids = project.run(code)
    workers = project.start()
    eventually(lambda: ended(project) - before == len(ids), within_s=60 + 20 * SCALE)
    eventually(lambda: project.counts()["dead"] == dead, within_s=60)
    assert workers.stop() == 0
    return ids


REASONS = """
from django_cfg.tasks.brokers.contract import DeadFilter
found = dramatiq.get_broker().dead_letters(DeadFilter(everything=True), 100)
print(*{letter.reason.replace(" ", "_") for letter in found})
"""


def test_poison_is_buried_with_its_reason_and_costs_the_good_less_than_half_of_their_pace(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=1, threads=4)
    alone = rate(project, drained(project, SEND_GOOD.format(count=GOOD)))
    mixed = drained(project, SEND_MIXED.format(count=GOOD), dead=GOOD * 3 // 4)
    assert project.run(REASONS) == ["undecodable_message"]
    assert set(project.ids("start").values()) == set(project.ids("end").values()) == {1}
    waiting = project.counts()
    if "rabbitmq_prefix" not in store:  # which does not count short delays
        assert waiting["retrying"] + waiting["pending"] == GOOD // 4  # a release that knows them may be on its way
    assert rate(project, mixed) >= alone / 2


def memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def one_after_the_other(project: Project, workers: Workers) -> dict[int, int]:
    """Memory of each worker once both have run something."""
    eventually(lambda: len(workers.children()) == 2)
    project.run("for _ in range(50): short.send(10)")
    eventually(lambda: set(project.pids("end")) == set(workers.children()), within_s=20)
    return {pid: memory_kb(pid) for pid in workers.children()}


def test_what_is_due_in_an_hour_fills_no_worker_and_holds_up_nothing_that_is_due_soon(
    project: Project, store: dict[str, Any]
) -> None:
    project.write(**store, processes=2, threads=2)
    workers = project.start()
    before = one_after_the_other(project, workers)
    project.run(
        f"for _ in range({FAR // 500}):\n"
        "    dramatiq.get_broker().enqueue_many([quick.message() for _ in range(500)], delay=3_600_000)"
    )
    sent = project.run(
        "import time\nfor _ in range(10):\n"
        f"    batch = dramatiq.get_broker().enqueue_many([mail.message() for _ in range({NEAR} // 10)], delay=5_000)\n"
        "    for message in batch: print(message.message_id, time.time())"
    )
    due = {message_id: float(at) + 5 for message_id, at in zip(sent[::2], sent[1::2], strict=True)}
    eventually(lambda: set(due) <= set(project.ids("end")), within_s=30)
    late = [line.at - due[line.id] for line in project.ledger() if line.word == "start" and line.id in due]
    assert len(late) == len(due)
    assert min(late) > -0.5 and max(late) < 2
    assert workers.children() == list(before)
    assert all(memory_kb(pid) - kept < 10_000 for pid, kept in before.items())
    assert project.counts() == {"scheduled": FAR}
    assert workers.stop() == 0


SECONDS, THREADS = 24, 4
SEND_SLOW = (
    "print(*(m.message_id for m in dramatiq.get_broker().enqueue_many(short.message(1_000) for _ in range({count}))))"
)
SEND_QUICK = "print(*(m.message_id for m in dramatiq.get_broker().enqueue_many(quick.message() for _ in range(400))))"
SEND_URGENT = "import time\nprint(urgent.send().message_id, time.time())"
URGENT = """

@dramatiq.actor(priority=-20)
def urgent():
    note("start")
    time.sleep(1)
    note("end")
"""


def test_slow_tasks_wait_in_no_process_while_another_one_is_idle_and_the_urgent_one_comes_next(
    project: Project, store: dict[str, Any]
) -> None:
    """After quick tasks a worker claims far ahead, so that one process could get all the slow ones."""
    project.write(**store, processes=2, threads=THREADS // 2)
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write(URGENT)
    workers = project.start()
    quick = project.run(SEND_QUICK)
    eventually(lambda: set(quick) <= set(project.ids("end")), within_s=30)
    slow = set(project.run(SEND_SLOW.format(count=SECONDS)))
    eventually(lambda: len(slow & set(project.ids("start"))) >= SECONDS // 2)
    urgent, sent_at = project.run(SEND_URGENT)
    slow.add(urgent)
    eventually(lambda: slow <= set(project.ids("end")), within_s=60)
    starts = {line.id: line.at for line in project.ledger() if line.word == "start" and line.id in slow}
    ends = [line.at for line in project.ledger() if line.word == "end" and line.id in slow]
    ideal = -(-len(slow) // THREADS)
    assert max(ends) - min(starts.values()) < ideal * 1.05
    overtaken = [at for one, at in starts.items() if one != urgent and float(sent_at) < at < starts[urgent]]
    assert len(overtaken) <= THREADS  # what was on its way to a thread when it came
    assert workers.stop() == 0
