"""Records tell the newest news, whoever writes last; they are soon there and never in the way."""

from __future__ import annotations

import itertools
import time

import pytest

from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.record import Recorder, write
from django_cfg.tasks.models import Attempt, TaskRecord
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def event(kind: Kind, fence: int = 1, generation: int = 1, message_id: str = "m", **more: object) -> TaskSettled:
    known = {
        "task": "work", "queue": "default", "retries": fence - 1, "enqueued_at_ms": 1_700_000_000_000,
        "wait_ms": 1.0, "run_ms": 2.0, "reason": "", "error": "", "traceback": "",
        "error_type": "" if kind is Kind.DONE else "ValueError",
    }  # fmt: skip
    return TaskSettled(message_id=message_id, kind=kind, fence=fence, generation=generation, **{**known, **more})


LIFE = [
    event(Kind.RETRY, 1),
    event(Kind.RETRY, 2),
    event(Kind.DEAD, 3),
    event(Kind.RETRY, 1, generation=2),
    event(Kind.DONE, 2, generation=2),
]


def test_every_order_of_writers_ends_with_the_newest_state() -> None:
    for number, order in enumerate(itertools.permutations(LIFE)):
        for item in order:
            write([event(item.kind, item.fence, item.generation, message_id=f"m{number}")], "w")
    assert set(TaskRecord.objects.values_list("state", "attempts", "generation")) == {("completed", 2, 2)}


def test_a_batch_in_any_order_ends_with_the_newest_state() -> None:
    write(LIFE[::-1], "w")
    write(LIFE[:3], "w")
    [record] = TaskRecord.objects.all()
    assert (record.state, record.attempts, record.retries, record.worker) == ("completed", 2, 1, "w")


def test_each_failed_attempt_is_kept_once_however_often_it_is_written() -> None:
    write(LIFE, "w")
    write(LIFE, "w")
    kept = Attempt.objects.order_by("id").values_list("generation", "fence", "ended_as")
    assert list(kept) == [(1, 1, "retry"), (1, 2, "retry"), (1, 3, "dead"), (2, 1, "retry")]


def test_only_wanted_events_are_recorded() -> None:
    recorder = Recorder(everything=False)
    recorder.put(event(Kind.DONE, message_id="plain success"))
    recorder.put(event(Kind.RELEASED, message_id="given back"))
    recorder.put(event(Kind.DONE, fence=2, message_id="success after a failure"))
    recorder.put(event(Kind.DEAD, message_id="failure"))
    recorder.start()
    recorder.finish()
    assert set(TaskRecord.objects.values_list("message_id", flat=True)) == {"success after a failure", "failure"}


def test_a_steady_trickle_does_not_hold_the_records_back() -> None:
    recorder = Recorder(everything=True)
    recorder.start()
    try:
        for number in range(40):
            recorder.put(event(Kind.DONE, message_id=f"m{number}"))
            time.sleep(0.02)  # the pace of the trickle, not a wait
        assert TaskRecord.objects.count() > 0
        eventually(lambda: TaskRecord.objects.count() == 40, within_s=2)
    finally:
        recorder.finish()


def test_a_full_buffer_drops_records_and_neither_blocks_tasks_nor_the_stop() -> None:
    recorder = Recorder(everything=True)
    for number in range(10_100):
        recorder.put(event(Kind.DONE, message_id=str(number)))
    began = time.monotonic()
    recorder.finish(timeout_s=0.1)  # its thread never ran, as with a database that hangs
    assert time.monotonic() - began < 2
