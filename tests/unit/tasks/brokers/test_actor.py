"""Sending from async code, and options that are checked where they are written."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from django_cfg.errors import AsyncSendError, InvalidTaskOption
from django_cfg.tasks.brokers.actor import EngineActor, new_id
from django_cfg.tasks.brokers.base import EngineBroker
from tests.unit.tasks.conftest import serving

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def sqlite(transactional_db: None) -> Iterator[EngineBroker]:
    yield from serving("database://default")


def task() -> Any:
    return dramatiq.actor(lambda *args, **kwargs: None, actor_name="work")


def pending(broker: EngineBroker) -> int:
    return sum(s.pending + s.scheduled for s in broker.queue_stats())


def test_asend_stores_the_message_like_send(any_broker: EngineBroker) -> None:
    work = task()

    async def main() -> list[Any]:
        one = await work.asend(1, b=2)
        two = await work.asend_with_options(args=(3,), delay=60_000)
        await sync_to_async(connections.close_all)()  # of the thread that sent them
        return [one, two]

    messages = asyncio.run(main())
    assert [(m.args, m.kwargs) for m in messages] == [((1,), {"b": 2}), ((3,), {})]
    assert pending(any_broker) == 2


def test_send_in_async_code_is_refused_on_a_database_and_says_what_to_write(sqlite: EngineBroker) -> None:
    work = task()

    async def main() -> None:
        work.send(1)

    with pytest.raises(AsyncSendError, match=r"write `await work.asend\(...\)`"):
        asyncio.run(main())
    assert pending(sqlite) == 0


def test_send_in_async_code_is_fine_where_nothing_blocks(stub: EngineBroker) -> None:
    work = task()

    async def main() -> None:
        work.send(1)

    asyncio.run(main())
    assert pending(stub) == 1


def test_an_actor_class_of_ones_own_is_left_alone(stub: EngineBroker) -> None:
    class Own(dramatiq.Actor[Any, Any]):
        """Somebody's subclass."""

    own = dramatiq.actor(lambda: None, actor_name="own", actor_class=Own)
    assert type(own) is Own
    assert isinstance(task(), EngineActor)
    own.send()
    assert pending(stub) == 1


def test_wrong_options_are_refused_where_a_task_is_declared(stub: EngineBroker) -> None:
    with pytest.raises(InvalidTaskOption, match="task bad: max_retries must be an integer, got '3'"):
        dramatiq.actor(lambda: None, actor_name="bad", max_retries="3")
    assert "bad" not in stub.actors


def test_ids_are_uuids_that_begin_with_the_time_they_were_made_at() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(new_id()) for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= one.int >> 80 <= after for one in ids)


def test_every_way_to_build_a_message_gives_such_an_id(any_broker: EngineBroker) -> None:
    work = task()
    built = [work.message(1), work.message_with_options(args=(1,), max_retries=2), work.send(1)]
    assert {uuid.UUID(message.message_id).version for message in built} == {7}
    assert built[1].options == {"max_retries": 2}


def test_what_follows_the_time_in_an_id_is_random() -> None:
    bits = [uuid.UUID(new_id()).int for _ in range(2000)]
    ones = [sum(number >> place & 1 for number in bits) for place in range(80) if place not in {62, 63, *range(76, 80)}]
    assert all(800 < count < 1200 for count in ones)  # 9 standard deviations
