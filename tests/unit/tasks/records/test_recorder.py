"""Records tell the newest news, whoever writes last; they are soon there and never in the way."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from django.db import connections
from dramatiq import Message

from django_cfg.tasks.brokers.contract import Claim, Outcome
from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.models import Attempt, EngineState, ErrorGroup, Rollup, TaskRecord
from django_cfg.tasks.records.histogram import loads
from django_cfg.tasks.records.policy import Policy
from django_cfg.tasks.records.recorder import MOST_WAITING, Recorder, write
from django_cfg.tasks.records.rollups import MOST_PLAIN
from django_cfg.tasks.records.rows import Rows, Seen
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def event(kind: Kind, fence: int = 1, generation: int = 1, message_id: str = "m", **more: object) -> TaskSettled:
    known = {
        "task": "work", "queue": "default", "retries": fence - 1, "enqueued_at_ms": 1_700_000_000_000,
        "wait_ms": 1.0, "run_ms": 2.0, "reason": "", "error": "", "traceback": "",
        "error_type": "" if kind is Kind.DONE else "ValueError",
    }  # fmt: skip
    return TaskSettled(message_id=message_id, kind=kind, fence=fence, generation=generation, **{**known, **more})


def put(*events: TaskSettled, alias: str = "default") -> None:
    rows = Rows({}, "w", connections[alias].ops.adapt_datetimefield_value)
    write(alias, rows, [Seen(item, 1_700_000_000.0, None) for item in events], [])


def recorder(policy: Policy = Policy.ALL) -> Recorder:
    return Recorder(policy, "default", {})


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
            put(replace(item, message_id=f"m{number}"))
    assert set(TaskRecord.objects.values_list("state", "attempts", "generation")) == {("completed", 2, 2)}


def test_a_batch_in_any_order_ends_with_the_newest_state() -> None:
    put(*LIFE[::-1])
    put(*LIFE[:3])
    [record] = TaskRecord.objects.all()
    assert (record.state, record.attempts, record.retries) == ("completed", 2, 1)
    assert record.wait_ms == 2.0  # the waits of both attempts of the newest life


def test_each_failed_attempt_is_kept_once_however_often_it_is_written() -> None:
    put(*LIFE)
    put(*LIFE)
    kept = Attempt.objects.order_by("id").values_list("generation", "fence", "ended_as")
    assert list(kept) == [(1, 1, "retry"), (1, 2, "retry"), (1, 3, "dead"), (2, 1, "retry")]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy.ALL, {"plain", "closing", "retried", "failed", "revived"}),
        (Policy.FINISHED, {"plain", "closing", "retried", "failed", "revived"}),
        (Policy.FAILURES, {"closing", "retried", "failed", "revived"}),
    ],
)
def test_a_policy_records_what_it_says_and_closes_what_it_opened(policy: Policy, kept: set[str]) -> None:
    made = recorder(policy)
    made.put(event(Kind.DONE, message_id="plain"))
    made.put(event(Kind.RELEASED, message_id="given back"))
    made.put(event(Kind.DONE, fence=2, message_id="closing"))
    made.put(event(Kind.RETRY, message_id="retried"))
    made.put(event(Kind.DEAD, message_id="failed"))
    made.put(event(Kind.DONE, message_id="revived", body='{"options":{"revived":true}}'))
    made.start()
    made.finish()
    assert set(TaskRecord.objects.values_list("message_id", flat=True)) == kept


def test_a_steady_trickle_does_not_hold_the_records_back() -> None:
    made = recorder()
    made.start()
    try:
        for number in range(40):
            made.put(event(Kind.DONE, message_id=f"m{number}"))
            time.sleep(0.02)  # the pace of the trickle, not a wait
        assert TaskRecord.objects.count() > 0
        eventually(lambda: TaskRecord.objects.count() == 40, within_s=2)
    finally:
        made.finish()


def test_a_full_buffer_drops_records_counts_them_and_keeps_their_numbers() -> None:
    made = recorder()
    for number in range(MOST_WAITING + 100):
        made.put(event(Kind.DONE, message_id=str(number)))
    made._waiting.clear()
    made.start()
    made.finish()
    assert EngineState.objects.get(name="records_dropped").value == 100
    assert Rollup.objects.get(grain="d").completed == 100


def test_what_is_only_counted_does_not_wait_for_the_thread() -> None:
    made = recorder(Policy.FAILURES)
    for number in range(MOST_WAITING + 100):
        made.put(event(Kind.DONE, message_id=f"m{number}"))
    made.put(event(Kind.DEAD))
    assert [seen.event.kind for seen in made._waiting] == [Kind.DEAD]
    made.start()
    made.finish()
    assert Rollup.objects.get(grain="d").completed == MOST_WAITING + 100
    assert [record.state for record in TaskRecord.objects.all()] == ["dead_letter"]


def outcome(kind: Kind = Kind.DONE, deliveries: int = 0, retries: int = 0, **options: object) -> Outcome:
    message = Message("default", "work", (), {}, options)
    claim = Claim(message, 1, deliveries, 1, 0, 1_700_000_000_000, 0.0)
    return Outcome(claim, kind, message, wait_ms=1.0, run_ms=3.0, retries_before=retries)


def test_plain_successes_are_counted_together_and_nothing_else_is_made_of_them() -> None:
    made = recorder(Policy.FAILURES)
    others = [outcome(Kind.DEAD), outcome(Kind.RELEASED), outcome(deliveries=1), outcome(retries=1)]
    others += [outcome(revived=True)]
    assert made.count([*(outcome() for _ in range(MOST_PLAIN + 1)), *others]) == others
    assert not made._waiting
    made.start()
    made.finish()
    day = Rollup.objects.get(grain="d")
    assert (day.attempts, day.completed, day.run_ms_max) == (MOST_PLAIN + 1, MOST_PLAIN + 1, 3.0)
    assert day.run_ms_sum == pytest.approx(3.0 * (MOST_PLAIN + 1))
    assert loads(day.runs).total() == loads(day.waits).total() == MOST_PLAIN + 1
    assert not TaskRecord.objects.exists()


@pytest.mark.parametrize("policy", [Policy.ALL, Policy.FINISHED])
def test_where_successes_are_recorded_none_is_only_counted(policy: Policy) -> None:
    ends = [outcome(), outcome(Kind.DEAD)]
    assert recorder(policy).count(ends) == ends


def test_a_recorder_whose_thread_never_ran_does_not_block_the_stop() -> None:
    made = recorder()
    made.put(event(Kind.DONE))
    made.finish(timeout_s=0.1)


def test_a_record_that_the_database_refuses_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    made = recorder()
    made.put(event(Kind.DONE, message_id="good"))
    made.put(event(Kind.DONE, message_id="bad", retries=2**70))
    made.put(event(Kind.DONE, message_id="also good"))
    made.start()
    made.finish()
    assert set(TaskRecord.objects.values_list("message_id", flat=True)) == {"good", "also good"}
    assert "The record of bad cannot be written." in caplog.text


def test_failures_of_one_fault_are_one_group() -> None:
    put(event(Kind.RETRY, 1, fingerprint="f", place="a:b"), event(Kind.RETRY, 2, fingerprint="f", error="newest"))
    put(event(Kind.DEAD, 3, fingerprint="g"))
    assert dict(ErrorGroup.objects.values_list("fingerprint", "seen")) == {"f": 2, "g": 1}
    assert ErrorGroup.objects.get(pk="f").error == "newest"


@pytest.mark.parametrize(
    "alias", [pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("mysql", marks=pytest.mark.mariadb)]
)
@pytest.mark.django_db(transaction=True, databases="__all__")
def test_every_database_keeps_the_newest_state_whatever_order_writers_come_in(alias: str) -> None:
    for number, order in enumerate(itertools.permutations(LIFE)):
        for item in order:
            put(replace(item, message_id=f"m{number}"), alias=alias)
    found = TaskRecord.objects.using(alias).values_list("state", "attempts", "generation")
    assert set(found) == {("completed", 2, 2)}
    put(event(Kind.DEAD, 9, generation=2, message_id="m0", fingerprint="f"), alias=alias)
    put(event(Kind.DEAD, 9, generation=2, message_id="m1", fingerprint="f", error="newest"), alias=alias)
    assert ErrorGroup.objects.using(alias).values_list("seen", "error").get() == (2, "newest")
