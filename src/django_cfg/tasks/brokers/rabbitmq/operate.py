"""What operators ask and do. RabbitMQ counts what is ready; everything else stands in the database."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db.models import QuerySet
from dramatiq import Message
from pika import spec

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.collector import fresh
from django_cfg.tasks.brokers.contract import DeadFilter, FollowUp, QueueStats
from django_cfg.tasks.brokers.database import operate
from django_cfg.tasks.brokers.endings import FINDABLE, ended_badly, waiting
from django_cfg.tasks.brokers.rabbitmq import frames, topology
from django_cfg.tasks.brokers.rabbitmq.frames import Delivery
from django_cfg.tasks.brokers.rabbitmq.ledger import CHUNK, Death, Ledger
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.tasks.brokers.rabbitmq.note import id_of, read_note, readable
from django_cfg.tasks.brokers.rabbitmq.producing import Publisher
from django_cfg.tasks.models import DeadLetter

MOST_THROWN_OUT = 100
THROWN_OUT = "delivered too often (the delivery limit of its queue)"


def queue_stats(publisher: Publisher, ledger: Ledger, declared: Iterable[str]) -> list[QueueStats]:
    """Declared queues and those that the database knows, by name."""
    scheduled, dead = ledger.scheduled_counts(), ledger.dead_counts()
    names = sorted({*declared, *scheduled, *dead})
    with publisher.link() as link:
        ready = ready_counts(publisher, link, names)
    return [
        QueueStats(
            queue=name,
            pending=ready[name],
            scheduled=scheduled.get(name, 0),
            running=None,
            retrying=None,
            dead=dead.get(name, 0),
        )
        for name in names
    ]


def ready_counts(publisher: Publisher, link: Link, queues: Sequence[str]) -> dict[str, int]:
    """What waits in all bands of each queue and was sent to no worker."""
    publisher.declare(link, queues)
    calls = [topology.declaration(publisher.names, name) for q in queues for name in publisher.names.queues(q)]
    counts = [answer.message_count for answer in link.calls(calls)]
    each = len(topology.BANDS)
    return {queue: sum(counts[each * n : each * (n + 1)]) for n, queue in enumerate(queues)}


Publish = Callable[[Sequence[FollowUp]], None]


def retry_dead(ledger: Ledger, publish: Publish, only: DeadFilter, spread_ms: int) -> int:
    """Publish dead letters anew and delete them then, in chunks: a crash between may run some twice, loses none."""
    found, moved, last = operate.matching(ledger.alias, only, ledger.now_ms()), 0, 0
    while True:
        with ledger.transaction():
            chunk = list(found.filter(id__gt=last).order_by("id")[:CHUNK])
            if not chunk:
                return moved
            last = chunk[-1].id
            moved += _revive(ledger, publish, found, chunk, spread_ms)


def _revive(
    ledger: Ledger, publish: Publish, found: QuerySet[DeadLetter], letters: list[DeadLetter], spread_ms: int
) -> int:
    again = {letter.id: message for letter in letters if (message := _readable(letter)) is not None}
    ids = [message.message_id for message in again.values()]
    ledger.results.forget(ids)  # or the old failure would answer for the new life
    ledger.put_results([(m.message_id, waiting(fresh(m))) for m in again.values() if FINDABLE in m.options])
    ledger.forget_deaths(ids)
    ledger.forget_orders(ids)
    publish([FollowUp(fresh(message), random.randint(0, spread_ms)) for message in again.values()])
    found.filter(id__in=list(again)).delete()
    return len(again)


def _readable(letter: DeadLetter) -> Message[Any] | None:
    try:
        return codec.decode(letter.body).copy(message_id=letter.message_id)
    except ValueError:
        return None


def collect_thrown_out(publisher: Publisher, ledger: Ledger) -> None:
    """Move what the delivery limit threw out of its queue to the dead letters."""
    with publisher.link() as link:
        publisher.declare(link, [])
        for _ in range(MOST_THROWN_OUT):
            delivery = _get(link, publisher.names.dead)
            if delivery is None:
                return
            _bury(ledger, delivery)
            link.send(frames.ack(delivery.tag))


def _get(link: Link, queue: str) -> Delivery | None:
    link.send(frames.method(frames.CHANNEL, spec.Basic.Get(queue=queue)))
    return link.got()


def _bury(ledger: Ledger, delivery: Delivery) -> None:
    one, body = id_of(delivery), readable(delivery.body)
    try:
        message = codec.decode(delivery.body)
        queue, task = message.queue_name, message.actor_name
    except ValueError:
        queue, task = "default", "unknown"
    ledger.put_results([(one, ended_badly(THROWN_OUT))])
    ledger.bury([Death(one, queue, task, body, read_note(delivery), topology.DELIVERY_LIMIT, THROWN_OUT)])


def flush(publisher: Publisher, queue: str) -> None:
    with publisher.link() as link:
        publisher.declare(link, [queue])
        names = publisher.names.queues(queue)
        link.calls([(spec.Queue.Purge(queue=name), spec.Queue.PurgeOk) for name in names])


def remove(publisher: Publisher, queues: Iterable[str]) -> None:
    with publisher.link() as link:
        link.calls(topology.removal(publisher.names, sorted(queues)))
    publisher.forget()
