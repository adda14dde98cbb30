"""`dramatiq_import` takes over what the real stock Dramatiq has left in Redis."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.testing.contracts import Client, done, stats
from tests.contract.redis_server import free_port

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
EVERYTHING = DeadFilter(everything=True)


@pytest.fixture(params=["redis_broker", "sqlite_broker"])
def broker(request: pytest.FixtureRequest) -> EngineBroker:
    found: EngineBroker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def stock() -> Iterator[RedisBroker]:
    made = RedisBroker(url=django_settings.REDIS_URL, namespace=f"{django_settings.REDIS_PREFIX}-stock", middleware=[])
    made.declare_queue("default")
    made.declare_queue("mail")
    yield made
    for key in made.client.scan_iter(made.namespace + ":*"):
        made.client.delete(key)


def message(task: str, *args: Any, queue: str = "default") -> Message[Any]:
    return Message(queue_name=queue, actor_name=task, args=args, kwargs={}, options={})


def run(stock: RedisBroker, *words: str) -> str:
    out = io.StringIO()
    call_command("dramatiq_import", django_settings.REDIS_URL, "--namespace", stock.namespace, *words, stdout=out)
    return out.getvalue().strip()


def left(stock: RedisBroker) -> list[bytes]:
    keys = stock.client.scan_iter(stock.namespace + ":*")
    return sorted(key for key in keys if b"__heartbeats__" not in key)


def test_waiting_delayed_and_dead_messages_move(broker: EngineBroker, stock: RedisBroker) -> None:
    sent = [stock.enqueue(message("work", n)) for n in range(700)]
    late = stock.enqueue(message("later", 7), delay=60_000)
    stock.enqueue(message("mail", queue="mail"))
    failed = stock.enqueue(message("failed", 3, queue="mail"))
    consumer = stock.consume("mail", prefetch=2, timeout=100)
    for fetched in iter(consumer.__next__, None):
        consumer.nack(fetched) if fetched.message_id == failed.message_id else consumer.requeue([fetched])
        if fetched.message_id == failed.message_id:
            break
    consumer.close()

    counted = run(stock, "--dry-run").splitlines()
    assert counted[0] == "Queue: default (700 waiting, 1 delayed, 0 dead, 0 held by stock workers)"
    assert stats(broker).pending == 0

    told = json.loads(run(stock, "--yes", "--json"))
    assert [(one["queue"], one["imported"], one["refused"]) for one in told["queues"]] == [
        ("default", 701, []),
        ("mail", 2, []),
    ]
    assert left(stock) == []
    client = Client(broker)
    came = client.claim(count=1000)
    assert [claim.message_id for claim in came] == [one.message_id for one in sent]
    assert came[5].message.args == (5,)
    assert "redis_message_id" not in came[5].message.options
    client.exchange(*map(done, came), count=0)
    assert stats(broker).scheduled == 1
    answer = client.exchange()
    assert 30_000 < (answer.next_due_ms or 0) <= 60_000
    assert late.message_id
    (letter,) = broker.dead_letters(EVERYTHING)
    assert (letter.message_id, letter.queue, letter.message and letter.message.args) == (
        failed.message_id,
        "mail",
        (3,),
    )
    assert run(stock, "--yes") == f"Nothing of stock Dramatiq stands below {stock.namespace}:."


def test_what_a_stock_worker_holds_moves_only_when_asked_for(broker: EngineBroker, stock: RedisBroker) -> None:
    for n in range(3):
        stock.enqueue(message("work", n))
    consumer = stock.consume("default", prefetch=2, timeout=100)
    assert next(consumer) is not None
    assert "(1 waiting, 0 delayed, 0 dead, 2 held by stock workers); 1 imported" in run(stock, "--yes")
    assert "2 imported" in run(stock, "--yes", "--held")
    assert (stats(broker).pending, left(stock)) == (3, [])


def test_one_queue_may_be_chosen(broker: EngineBroker, stock: RedisBroker) -> None:
    stock.enqueue(message("work"))
    stock.enqueue(message("mail", queue="mail"))
    assert run(stock, "--yes", "--queue", "mail").startswith("Queue: mail (1 waiting")
    assert (stats(broker).pending, stats(broker, "mail").pending) == (0, 1)


def test_what_cannot_be_read_stays_and_is_named(broker: EngineBroker, stock: RedisBroker) -> None:
    stock.enqueue(message("work"))
    stock.client.hset(f"{stock.namespace}:default.msgs", "odd", b"\x80pickled")
    stock.client.rpush(f"{stock.namespace}:default", "odd")
    stock.enqueue(message("huge", "x" * 200_000))
    told = run(stock, "--yes").splitlines()
    assert told[0].endswith("1 imported, 2 left in place")
    assert "left in place: default odd: not JSON" in told[1]
    assert "max_payload_bytes" in told[2]
    assert stock.client.hlen(f"{stock.namespace}:default.msgs") == 2


def test_nothing_moves_unasked(broker: EngineBroker, stock: RedisBroker) -> None:
    stock.enqueue(message("work"))
    with pytest.raises(CommandError, match=r"1 message would be moved. Say --yes") as refused:
        run(stock)
    assert refused.value.returncode == 2
    assert stats(broker).pending == 0


def test_a_server_that_does_not_answer_is_one_line(broker: EngineBroker) -> None:
    with pytest.raises(CommandError, match="does not answer") as refused:
        call_command("dramatiq_import", f"redis://127.0.0.1:{free_port()}/0", "--dry-run")
    assert refused.value.returncode == 3
