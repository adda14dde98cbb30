"""Records follow the broker, and old rows go without their neighbours."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cfg.tasks import actions, queries, upkeep
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.models import Attempt, ErrorGroup, OperatorAction, Rollup, TaskRecord, TaskResult
from django_cfg.testing.contracts import Client, dead, message

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
numbers = itertools.count()


def record(state: str, age_days: float = 1, **more: Any) -> TaskRecord:
    at = NOW - timedelta(days=age_days)
    known = {"message_id": f"m{next(numbers)}", "task": "work", "queue": "default", "enqueued_at": at, "updated_at": at}
    return TaskRecord.objects.create(**{**known, "state": state, **more})


def state_of(row: TaskRecord) -> str | None:
    return TaskRecord.objects.filter(pk=row.pk).values_list("state", flat=True).first()


def bury(broker: EngineBroker) -> str:
    sent = broker.enqueue(message())
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim()], count=0)
    return sent.message_id


def test_an_open_record_follows_its_message(any_broker: EngineBroker) -> None:
    lost = record("running")
    waiting = record("retrying", message_id=any_broker.enqueue(message("other", queue="elsewhere")).message_id)
    died = record("running", message_id=bury(any_broker))
    young = record("running", updated_at=datetime.now(UTC))
    assert upkeep.reconcile() == 2
    assert [state_of(row) for row in (lost, waiting, died, young)] == [
        *("completed", "retrying", "dead_letter", "running")
    ]


def test_the_record_of_a_letter_that_somebody_cleared_goes_with_it(any_broker: EngineBroker) -> None:
    kept, cleared = record("dead_letter", message_id=bury(any_broker)), record("dead_letter")
    upkeep.reconcile()
    assert [state_of(kept), state_of(cleared)] == ["dead_letter", None]


def test_retrying_and_clearing_show_in_the_records_at_once(any_broker: EngineBroker) -> None:
    again, gone = (record("dead_letter", message_id=bury(any_broker)) for _ in range(2))
    assert actions.retry_failed(DeadFilter(message_ids=(again.message_id,))) == 1
    assert actions.clear_failed(DeadFilter(everything=True)) == 1
    assert [state_of(again), state_of(gone)] == ["pending", None]


def test_a_cancelled_retry_shows_in_its_record(any_broker: EngineBroker) -> None:
    waiting = record("retrying", message_id=any_broker.enqueue(message(), delay=60_000).message_id)
    assert actions.cancel(waiting.message_id)
    assert state_of(waiting) == "cancelled"


def test_dead_letters_of_one_fault_are_retried_together(any_broker: EngineBroker) -> None:
    one, other = (record("dead_letter", message_id=bury(any_broker), fingerprint=f) for f in ("f1", "f2"))
    assert actions.retry_group("f1") == 1
    assert [state_of(one), state_of(other)] == ["pending", "dead_letter"]
    assert actions.clear_group("f2") == 1
    assert queries.count_failed(DeadFilter(everything=True)) == 0


def test_pruning_takes_what_is_old_and_leaves_dead_letters(stub: EngineBroker) -> None:
    old, young, letter = record("completed", 31), record("completed", 29), record("dead_letter", 400)
    for age in (31, 29):
        at = NOW - timedelta(days=age)
        Attempt.objects.create(message_id=f"a{age}", generation=1, fence=1, ended_as="retry", ended_at=at)
        TaskResult.objects.create(
            message_id=f"r{age}", body="1", expires_at=round((at.timestamp() + 30 * 86_400) * 1000)
        )
        ErrorGroup.objects.create(fingerprint=f"f{age}", task="t", queue="q", first_seen=at, last_seen=at)
    for grain, age in (("m", 8), ("m", 6), ("h", 91), ("h", 89), ("d", 1096), ("d", 1094)):
        Rollup.objects.create(grain=grain, starts_at=NOW - timedelta(days=age), queue="q", task="t")
    wanted = upkeep.Pruned(records=1, attempts=1, results=1, rollups=3, failures=1, operator_actions=0)
    assert upkeep.prune(dry_run=True, now=NOW) == wanted
    assert upkeep.prune(now=NOW) == wanted
    assert upkeep.prune(now=NOW).total == 0
    assert [state_of(row) for row in (old, young, letter)] == [None, "completed", "dead_letter"]


def test_more_than_a_chunk_goes_too(stub: EngineBroker) -> None:
    at = NOW - timedelta(days=31)
    many = [
        TaskRecord(message_id=str(n), task="t", queue="q", state="completed", enqueued_at=at, updated_at=at)
        for n in range(upkeep.CHUNK * 2 + 1)
    ]
    TaskRecord.objects.bulk_create(many)
    assert upkeep.prune(now=NOW).records == len(many)


def test_one_host_prunes_a_day(stub: EngineBroker) -> None:
    assert [upkeep._is_mine(NOW), upkeep._is_mine(NOW), upkeep._is_mine(NOW + timedelta(days=1))] == [True, False, True]


@pytest.mark.parametrize(
    ("act", "name", "affected"),
    [
        (lambda: actions.pause("mail"), "pause", 1),
        (lambda: actions.resume("mail"), "resume", 1),
        (lambda: actions.cancel("unknown"), "cancel", 0),
        (lambda: actions.retry_failed(DeadFilter(everything=True)), "retry", 0),
        (lambda: actions.clear_failed(DeadFilter(queue="mail")), "discard", 0),
        (lambda: actions.retry_group("f"), "retry", 0),
        (lambda: actions.clear_group("f"), "discard", 0),
        (lambda: actions.prune(), "prune", 0),
    ],
)
def test_each_act_leaves_exactly_one_row(stub: EngineBroker, act: Any, name: str, affected: int) -> None:
    act()
    [row] = OperatorAction.objects.all()
    assert (row.action, row.affected, row.outcome, row.source) == (name, affected, "done", "python")
    assert "@" in row.actor


def test_an_act_that_fails_leaves_its_row_too(stub: EngineBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(queue: str) -> None:
        raise RuntimeError("redis://u:hunter22@h/ went away")

    monkeypatch.setattr(stub, "pause", broken)
    with pytest.raises(RuntimeError):
        actions.pause("mail")
    [row] = OperatorAction.objects.all()
    assert (row.outcome, row.detail) == ("failed", "RuntimeError: redis://u:***@h/ went away")


def test_a_task_that_nobody_declared_is_not_enqueued_and_the_try_is_noted(stub: EngineBroker) -> None:
    with pytest.raises(Exception, match="no task is named"):
        actions.enqueue("os.system", ["ls"])
    assert OperatorAction.objects.get().outcome == "failed"


def test_a_copy_of_a_dead_letter_knows_what_it_repeats(any_broker: EngineBroker) -> None:
    letter = bury(any_broker)
    sent = actions.enqueue_again(letter)
    assert sent.options["retry_of"] == letter
    assert any_broker.holds(sent.message_id)
