"""New dead letters are told once, in groups, however many keepers look; signals say what happens to tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core import mail
from django.db import connections
from pydantic import ValidationError

from django_cfg.errors import WebhookError
from django_cfg.models.tasks import TaskConfig
from django_cfg.modules import task_notices, webhook
from django_cfg.tasks import signals
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadLetterInfo
from django_cfg.tasks.events import TaskSettled, WorkerNews
from django_cfg.tasks.models import EngineState
from django_cfg.tasks.worker import notices
from django_cfg.tasks.worker.notices import Notice, Teller, notice, shown
from django_cfg.tasks.worker.signalling import signalling
from django_cfg.testing.contracts import Client, Failing, dead, declare, message, working
from django_cfg.testing.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
BROKERS = [
    "stub_broker",
    "sqlite_broker",
    pytest.param("postgres_broker", marks=pytest.mark.postgres),
    pytest.param("redis_broker", marks=pytest.mark.redis),
]
WORKER = WorkerNews("host", 1, ("default",), 1)
HOOK = "https://hooks.example/hush-hush"


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EngineBroker]:
    yield request.getfixturevalue(request.param)
    connections.close_all()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Notice]:
    found: list[Notice] = []
    monkeypatch.setattr(task_notices, "by_webhook", lambda target, one, hosts: found.append(one))
    return found


def bury(broker: EngineBroker, *tasks: str) -> None:
    broker.enqueue_many([message(task) for task in tasks])
    client = Client(broker)
    client.exchange(*[dead(claim) for claim in client.claim(count=100)], count=0)


def teller(broker: EngineBroker, every_s: int = 60, target: str = HOOK) -> Teller:
    return Teller(broker, replace(broker.settings, notices=(target,), notices_every_s=every_s), target)


def later(seconds: float) -> None:
    """As if the last notice had been sent so much earlier."""
    for row in EngineState.objects.filter(name__startswith="notice:"):
        EngineState.objects.filter(pk=row.pk).update(value=row.value - round(seconds * 1000))


def test_new_dead_letters_are_told_in_groups_and_once(broker: EngineBroker, told: list[Notice]) -> None:
    one = teller(broker)
    one.turn()
    bury(broker, "charge", "charge", "mail")
    assert one.turn() > 50
    assert told == []  # not long enough ago
    later(60)
    one.turn()
    (found,) = told
    assert found.number == 3
    assert [(group.task, group.number) for group in found.groups] == [("charge", 2), ("mail", 1)]
    assert found.text.startswith("3 new dead letters within ")
    assert "- 2 x charge on default: failed: ValueError: bad" in found.text
    one.turn()
    assert len(told) == 1


def test_what_died_before_anybody_was_to_be_told_is_no_news(stub_broker: EngineBroker, told: list[Notice]) -> None:
    bury(stub_broker, "charge")
    one = teller(stub_broker)
    one.turn()
    one.turn()
    assert told == []


def test_of_many_keepers_one_tells(stub_broker: EngineBroker, told: list[Notice]) -> None:
    keepers = [teller(stub_broker) for _ in range(5)]
    for keeper in keepers:
        keeper.turn()
    bury(stub_broker, "charge")
    later(60)
    for keeper in keepers:
        keeper.turn()
    assert len(told) == 1


def test_each_target_is_told(stub_broker: EngineBroker, told: list[Notice]) -> None:
    both = [teller(stub_broker), teller(stub_broker, target="https://other.example/x")]
    for one in both:
        one.turn()
    bury(stub_broker, "charge")
    later(60)
    for one in both:
        one.turn()
    assert len(told) == 2


def test_a_notice_that_was_not_sent_is_sent_later_and_its_address_is_not_logged(
    stub_broker: EngineBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[Notice] = []

    def send(target: str, one: Notice, hosts: frozenset[str]) -> None:
        found.append(one)
        if len(found) == 1:
            raise WebhookError("the webhook at hooks.example answered 500")

    monkeypatch.setattr(task_notices, "by_webhook", send)
    one = teller(stub_broker)
    one.turn()
    bury(stub_broker, "charge")
    later(60)
    one.turn()
    one.turn()
    assert [notice.number for notice in found] == [1, 1]
    assert "A notice to https://hooks.example was not sent" in caplog.text
    assert "hush-hush" not in caplog.text


def test_mail_goes_to_every_address_as_plain_text() -> None:
    letters = [DeadLetterInfo("id-1", "charge", "default", "failed: ValueError", "bad <b>card</b>", 4)]
    task_notices.by_mail("mailto:a@example.com,b@example.com", notice(letters, 60), frozenset())
    (sent,) = mail.outbox
    assert (sent.to, sent.subject) == (["a@example.com", "b@example.com"], "1 new dead letter")
    assert "bad <b>card</b>" in sent.body


def test_a_webhook_gets_text_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[Any] = []
    monkeypatch.setattr(webhook, "post", lambda url, body, *, private_hosts: posted.append((url, body, private_hosts)))
    letters = [DeadLetterInfo("id-1", "charge", "default", "failed: ValueError", "bad", 4)]
    task_notices.by_webhook(HOOK, notice(letters, 60), frozenset({"h"}))
    ((url, body, hosts),) = posted
    assert (url, hosts, body["number"], body["groups"][0]["task"]) == (HOOK, frozenset({"h"}), 1, "charge")


def test_ten_thousand_reasons_are_a_short_notice() -> None:
    letters = [DeadLetterInfo(str(n), f"task{n}", "default", "reason", "x" * 10_000, 1) for n in range(1000)]
    found = notice(letters, 60)
    assert len(found.groups) == notices.MOST_GROUPS
    assert found.subject == "1000 or more new dead letters"
    assert len(found.text) < 10_000


@pytest.mark.parametrize(
    ("target", "text"),
    [(HOOK, "https://hooks.example"), ("mailto:a@example.com", "mailto:a@example.com"), ("telegram:-1", "telegram:-1")],
)
def test_a_target_is_shown_without_its_secret(target: str, text: str) -> None:
    assert shown(target) == text


@pytest.mark.parametrize(
    "target",
    [
        *("ops@example.com", "mailto:nobody", "telegram:a b", "https://", "ftp://h/s3cret", "x"),
        *("https://h:port/s3cret", "https://h:70000/s3cret", "https://h/s3cret-é"),
    ],
)
def test_a_target_of_no_kind_is_refused_without_showing_it(target: str) -> None:
    with pytest.raises(ValidationError, match="notices: ") as caught:
        TaskConfig(notices=[target])
    (problem,) = [str(error["msg"]) for error in caught.value.errors()]
    assert "s3cret" not in problem


# -- signals -------------------------------------------------------------------------------------------


def test_signals_say_how_each_task_ended_and_a_broken_receiver_harms_nobody(
    stub_broker: EngineBroker, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, str]] = []
    workers: list[tuple[str, str, WorkerNews]] = []
    done = threading.Event()

    def broken(**_: Any) -> None:
        raise RuntimeError("receiver")

    def hear(word: str) -> Any:
        def receiver(sender: str, event: TaskSettled, **_: Any) -> None:
            assert sender == event.task
            heard.append((word, event.task))

        return receiver

    receivers = [
        (signals.task_completed, hear("completed")),
        (signals.task_dead_lettered, hear("dead")),
        (signals.task_retried, hear("retried")),
        (signals.task_completed, broken),
        (signals.task_enqueued, hear("enqueued")),
        (signals.worker_started, lambda sender, event, **kwargs: workers.append(("started", sender, event))),
        (signals.worker_stopped, lambda sender, event, **kwargs: workers.append(("stopped", sender, event))),
    ]
    for signal, receiver in receivers:
        signal.connect(receiver, weak=False)

    def fails() -> None:
        raise Failing

    try:
        well, ill = declare(lambda: done.set(), actor_name="well"), declare(fails, max_retries=1, min_backoff=10)
        with signalling(WORKER), working(stub_broker):
            well.send()
            ill.send()
            eventually(lambda: ("dead", "fails") in heard and ("completed", "well") in heard)
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)
    enqueued = [("enqueued", "fails"), ("enqueued", "well")]  # a retry is no enqueue
    assert sorted(heard) == [("completed", "well"), ("dead", "fails"), *enqueued, ("retried", "fails")]
    assert workers == [("started", "host:1", WORKER), ("stopped", "host:1", WORKER)]
    assert "failed for task well" in caplog.text
