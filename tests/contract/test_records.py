"""What remains of tasks that really ran, on every broker: whole, without secrets, and by the setting."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from django.utils.safestring import mark_safe
from dramatiq import broker as dramatiq_broker

from django_cfg.tasks import Secret, actions, current_task, queries, upkeep
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.models import Attempt, ErrorGroup, Rollup, TaskRecord
from django_cfg.tasks.records.running import running
from django_cfg.testing.contracts import Failing, declare, working
from django_cfg.testing.contracts.tools import expect_failure
from django_cfg.testing.waiting import eventually
from tests.contract import work
from tests.contract.conftest import FAST, PREFIXES

pytestmark = pytest.mark.django_db(transaction=True)
REDIS = pytest.param(django_settings.REDIS_URL, marks=pytest.mark.redis)


def serving(url: str, records: str) -> Iterator[EngineBroker]:
    before = dramatiq_broker.global_broker
    made = replace(FAST, broker_url=url, records=records, **PREFIXES)
    broker = make.make(made)
    dramatiq.set_broker(broker)
    broker.flush_all()
    yield broker
    broker.flush_all()
    broker.close()
    dramatiq_broker.global_broker = before


@pytest.fixture(params=["stub://", "database://default", REDIS])
def broker(request: pytest.FixtureRequest) -> Iterator[EngineBroker]:
    yield from serving(request.param, "all")


@pytest.fixture
def failures_only(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("stub://", "failures")


@pytest.fixture
def on_rabbitmq(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving(django_settings.RABBITMQ_URL, "all")


def record_of(sent: Any, state: str) -> TaskRecord:
    """The record of a message once it says this."""
    return record_by_id(sent.message_id, state)


def record_by_id(message_id: str, state: str) -> TaskRecord:
    found = TaskRecord.objects.filter(message_id=message_id, state=state)
    return eventually(lambda: found.first(), within_s=10)


def test_a_success_leaves_one_row_with_its_arguments_and_no_attempt(broker: EngineBroker) -> None:
    def add(left: int, right: int, api_key: str = "") -> int:
        return left + right

    actor = declare(add)
    with working(broker):
        sent = actor.send(1, right=2, api_key="canary-1234")
        record = record_of(sent, "completed")
    assert json.loads(record.arguments) == {"left": 1, "right": 2, "api_key": "***"}
    assert (record.task, record.queue, record.attempts, record.result) == ("add", "default", 1, "3")
    assert record.enqueued_at <= record.started_at <= record.finished_at
    assert ":" in record.worker
    assert not Attempt.objects.exists()


def test_texts_of_templates_are_sent_returned_and_recorded_as_texts(broker: EngineBroker) -> None:
    def mail(body: str) -> str:
        return mark_safe(f"{body}!")

    actor = declare(mail, store_results=True)
    with working(broker):
        sent = actor.send(mark_safe("<b>hello</b>"))
        record = record_of(sent, "completed")
    assert sent.get_result() == "<b>hello</b>!"
    assert (json.loads(record.arguments), json.loads(record.result)) == ({"body": "<b>hello</b>"}, "<b>hello</b>!")


def test_of_a_django_task_the_value_is_shown_and_no_secret(broker: EngineBroker) -> None:
    sent = work.pay.enqueue("4242 4242", amount=7), work.add.enqueue()
    with working(broker):
        paid, added = (record_by_id(one.id, "completed") for one in sent)
    assert json.loads(paid.arguments) == {"card": "***", "amount": 7}
    assert json.loads(paid.result) == {"amount": 7, "card_token": "***"}
    assert json.loads(added.result) == 0
    assert "4242 4242" not in str(vars(paid))


def test_of_a_django_task_with_a_context_no_secret_is_shown_either(
    broker: EngineBroker, caplog: pytest.LogCaptureFixture
) -> None:
    result = work.pay_by_context.enqueue("4242 4242", 7)
    with working(broker):
        record = record_by_id(result.id, "dead_letter")
    attempt = eventually(Attempt.objects.first)
    result.refresh()
    assert json.loads(record.arguments) == {"card": "***", "amount": 7}
    assert "WARNING shop: card ***" in attempt.log
    assert record.progress_note == "asked for ***"
    assert "4242 4242" not in f"{vars(record)} {vars(attempt)} {result.errors}"
    caplog.handler.setFormatter(logging.Formatter())
    shown = [caplog.handler.format(line) for line in caplog.records if line.name != "shop"]
    assert "4242 4242" not in str(shown) and "ValueError: card *** is refused" in str(shown)


def test_a_backoff_that_fails_and_a_value_show_no_secret(
    broker: EngineBroker, caplog: pytest.LogCaptureFixture
) -> None:
    work.runs.clear()
    result = work.pay_again.enqueue("4242 4242")
    with working(broker):
        record = record_by_id(result.id, "completed")
    assert record.result == '"paid by ***"'
    shown = [caplog.handler.format(line) for line in caplog.records]
    assert "4242 4242" not in str(shown) and "The backoff of task" in str(shown)


def test_a_marked_or_hooked_argument_is_hidden_wherever_it_stands(broker: EngineBroker) -> None:
    def charge(card: Secret[str], note: str) -> None: ...

    marked = declare(charge)
    hooked = declare(lambda iban: None, actor_name="pay", redact=lambda shown: {**shown, "iban": shown["iban"][-4:]})
    broken = declare(lambda iban: None, actor_name="broken", redact=lambda shown: shown["nothing"])
    with working(broker):
        sent = [marked.send("4242 4242", "x"), hooked.send("DE0012345678"), broken.send("DE0012345678")]
        found = [json.loads(record_of(one, "completed").arguments) for one in sent]
    assert found == [{"card": "***", "note": "x"}, {"iban": "5678"}, {"iban": "***"}]


def test_what_a_starred_parameter_takes_is_hidden_by_its_mark_and_name(broker: EngineBroker) -> None:
    def marked(number: int, *pins: Secret[str], **more: Secret[str]) -> None: ...

    def named(*api_keys: str, **passwords: str) -> None: ...

    actors = declare(marked), declare(named)
    with working(broker):
        sent = [actor.send(7, "4242", mail="4343") for actor in actors]
        found = [json.loads(record_of(one, "completed").arguments) for one in sent]
    assert found == [
        {"number": 7, "argument 2": "***", "mail": "***"},
        {"argument 1": "***", "argument 2": "***", "mail": "***"},
    ]


def test_a_failure_keeps_each_attempt_without_the_secrets_of_its_arguments(broker: EngineBroker) -> None:
    def login(user: str, options: dict[str, Any]) -> None:
        raise PermissionError(f"{user} with {options['password']} at smtp://me:hunter22@mail/")

    actor = declare(login, max_retries=1, tags=["mail"])
    with working(broker):
        sent = actor.send("ann", {"password": "canary-5678"})
        expect_failure(sent, "ann with *** at smtp://me:***@mail/")
        record = record_of(sent, "dead_letter")
    eventually(lambda: Attempt.objects.count() == 2)
    kept = [*Attempt.objects.all(), *ErrorGroup.objects.all(), record]
    texts = "\n".join(str(vars(row)) for row in kept) + broker.dead_letters(DeadFilter(everything=True))[0].error
    assert "canary" not in texts and "hunter22" not in texts
    assert (record.error_type, record.attempts, record.tags) == ("PermissionError", 2, ",mail,")
    [group] = ErrorGroup.objects.all()
    assert (group.fingerprint, group.seen) == (record.fingerprint, 2)
    assert group.place.endswith("login")


def test_a_task_that_takes_a_while_is_seen_running_with_its_progress_and_its_log(broker: EngineBroker) -> None:
    gate = threading.Event()

    def long() -> None:
        logging.getLogger("shop").warning("half of %s", "it")
        current_task().progress(5, 10, "half")
        gate.wait(10)

    actor = declare(long)
    with working(broker):
        sent = actor.send()
        running = record_of(sent, "running")
        eventually(lambda: TaskRecord.objects.get(pk=running.pk).progress_note == "half")
        gate.set()
        record = record_of(sent, "completed")
    assert (record.progress_done, record.progress_total, record.log) == (5, 10, "WARNING shop: half of it")


def test_a_task_that_logs_what_no_database_takes_is_recorded(
    broker: EngineBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> None:
        logging.getLogger("shop").warning("no such file: %s", b"caf\xe9\0".decode(errors="surrogateescape"))
        raise Failing("read")

    # Without pytest's own handlers: a process of pytest-xdist cannot report half a character to its parent.
    with monkeypatch.context() as patched:
        patched.setattr(logging.getLogger(), "handlers", [])
        with working(broker):
            record = record_of(declare(read, max_retries=0).send(), "dead_letter")
    assert record.log == "WARNING shop: no such file: caf\\udce9\\x00"
    assert [attempt.log for attempt in Attempt.objects.all()] == [record.log]


def test_progress_that_cannot_be_is_refused_and_a_direct_call_goes_nowhere() -> None:
    with pytest.raises(ValueError, match="got done=3, total=2"):
        current_task().progress(3, 2)
    current_task().progress(1, 2)
    assert (current_task().message_id, current_task().attempt, current_task().redelivered) == ("", 1, False)


def test_what_a_task_sends_knows_its_parent(broker: EngineBroker) -> None:
    child = declare(lambda: None, actor_name="child")
    sent: list[Any] = []
    parent = declare(lambda: sent.append(child.send()), actor_name="parent")
    with working(broker):
        first = parent.send()
        record_of(first, "completed")
        assert record_of(sent[0], "completed").parent_id == first.message_id
    assert TaskRecord.objects.get(pk=first.message_id).parent_id == ""


@pytest.mark.django_db(transaction=True, databases="__all__")  # cancelling looks into every outbox
def test_a_task_that_is_cancelled_while_it_runs_is_recorded_as_cancelled(broker: EngineBroker) -> None:
    started, stop = threading.Event(), threading.Event()

    def patient() -> None:
        started.set()
        while not stop.wait(0.01):
            current_task().raise_if_cancelled()

    actor = declare(patient)
    with working(broker):
        sent = actor.send()
        try:
            assert started.wait(15)
            actions.cancel(sent.message_id)
            record = record_of(sent, "cancelled")
        finally:
            stop.set()
    assert record.finished_at is not None and record.reason == "cancelled"
    assert upkeep.reconcile(timezone.now() + timedelta(minutes=2)) == 0


@pytest.mark.rabbitmq
@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_task_that_ends_although_it_was_cancelled_is_recorded_as_it_ended(on_rabbitmq: EngineBroker) -> None:
    """RabbitMQ cannot say that it runs."""
    started, gate = threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        gate.wait(15)

    with working(on_rabbitmq):
        sent = declare(job).send()
        assert started.wait(15)
        record_of(sent, "running")
        actions.cancel(sent.message_id)
        gate.set()
        record_of(sent, "completed")


def test_rollups_count_what_ran_and_tell_percentiles(broker: EngineBroker) -> None:
    actor = declare(lambda: None, actor_name="quick")
    with working(broker):
        for _ in range(20):
            actor.send()
        eventually(lambda: [s.completed for s in queries.task_summary()] == [20])
    assert set(Rollup.objects.values_list("grain", flat=True)) == {"m", "h", "d"}
    [summary] = queries.task_summary()
    assert 0 <= summary.run_ms_p50 <= summary.run_ms_max


def test_only_failures_are_recorded_and_a_retried_one_closes_its_record(failures_only: EngineBroker) -> None:
    is_broken = True

    def fails() -> None:
        if is_broken:
            raise ValueError("on purpose")

    good, bad = declare(lambda: None, actor_name="good"), declare(fails, max_retries=0)
    with working(failures_only):
        good.send()
        sent = bad.send()
        record_of(sent, "dead_letter")
        is_broken = False
        actions.retry_failed(DeadFilter(everything=True))
        record_of(sent, "completed")
    assert [record.task for record in TaskRecord.objects.all()] == ["fails"]


def test_what_a_task_leaves_running_is_noted_nowhere(failures_only: EngineBroker) -> None:
    seen, go, threads = threading.Event(), threading.Event(), list[threading.Thread]()

    def speaks_later() -> None:
        go.wait(10)
        logging.getLogger("shop").warning("too late")
        current_task().progress(1)

    def leaves() -> None:
        current_task().progress(1, 2)
        seen.wait(10)
        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(speaks_later,)))
        threads[0].start()

    actor = declare(leaves)
    with working(failures_only):
        sent = actor.send()
        began = record_of(sent, "running").started_at
        seen.set()
        record = record_of(sent, "completed")
        assert began <= record.finished_at
        go.set()
        threads[0].join(10)
        assert running == {}
