"""A worker's session: one connection whose unsettled messages are the claims. It ends when the connection does."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from dramatiq import Message
from pika import spec

from django_cfg.errors import BrokerUnreachable, EnqueueUnknown, SessionLost
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import Answer, Claim, Outcome, ProcessIdentity, Want
from django_cfg.tasks.brokers.endings import died_with_its_process, ended_badly, lost_for_good
from django_cfg.tasks.brokers.prepare import claimable
from django_cfg.tasks.brokers.rabbitmq import frames, topology
from django_cfg.tasks.brokers.rabbitmq.frames import Delivery
from django_cfg.tasks.brokers.rabbitmq.inbox import Entry, Inbox
from django_cfg.tasks.brokers.rabbitmq.ledger import Death, Orders
from django_cfg.tasks.brokers.rabbitmq.link import Broken, Link
from django_cfg.tasks.brokers.rabbitmq.note import Parcel, claim_of, id_of, parcels, read_note, readable
from django_cfg.tasks.brokers.rabbitmq.store import Store
from django_cfg.tasks.events import TaskSettled, task_settled
from django_cfg.tasks.lifecycle import Kind

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: Prefetched messages for each claim that a worker wants at a time: one that runs and one that waits for it.
AHEAD = 2
#: What a killed worker had been sent runs one at a time afterwards.
MOST_SENT = 512
#: Between changes of the prefetch, which are new consumers: to a larger one, and to a smaller one.
GROW_S, SHRINK_S = 0.1, 1.0
#: For what the server is sending to a consumer that is about to end; a look lasts so long, and all of them.
LOOK_S, ARRIVAL_S = 0.005, 1.0


class Held(NamedTuple):
    """A claim that a worker holds."""

    entry: Entry
    claim: Claim


class Burial(NamedTuple):
    """A message that can never run, and why; without an error its processes died of it."""

    entry: Entry
    task: str
    reason: str
    error: str = ""

    @property
    def death(self) -> Death:
        entry, text = self.entry, readable(self.entry.delivery.body)
        return Death(entry.message_id, entry.queue, self.task, text, entry.note, entry.deaths, self.reason, self.error)

    @property
    def settled(self) -> TaskSettled:
        entry, enqueued = self.entry, self.entry.note.enqueued_ms
        return lost_for_good(entry.message_id, self.task, self.reason, entry.queue, enqueued, entry.fence, enqueued)


class RabbitSession:
    """Consumers, what they brought, and what of it is being worked on. Used by one thread."""

    def __init__(self, broker: EngineBroker, store: Store, number: int, who: ProcessIdentity) -> None:
        self.number = number
        self.who = who
        self.link = Link(store.address, store.heartbeat_s)
        self._broker = broker
        self._store = store
        self._ledger = store.ledger
        self._inbox = Inbox()
        self._held: dict[str, Held] = {}
        #: Tags that the server waits to hear of, in their order, and the consumer that each came to.
        self._unsettled: dict[int, str] = {}
        self._consumers: dict[str, tuple[str, str]] = {}
        self._tags = itertools.count(1)
        self._prefetch = 0
        self._geared_at = 0.0
        #: How many messages went, since the last answer, to nobody who could run them.
        self._unfit = 0
        self._answered: tuple[int, Answer] = (0, Answer())
        self._settled: tuple[int, frozenset[str]] = (0, frozenset())
        self.link.connect()

    # -- exchange --------------------------------------------------------------------------------------

    def exchange(self, seq: int, outcomes: Sequence[Outcome], want: Want) -> Answer:
        """As the contract says. A repetition goes on where the last try was interrupted."""
        if seq == self._answered[0]:
            return self._answered[1]
        with self.leased():
            self.link.tick()
            orders = self._store.orders()
            if seq != self._settled[0]:
                self._settled = seq, self._settle(outcomes, orders)
            self._consume(want, orders)
            claims = self._claim(seq, want, orders, is_a_look=not outcomes)
            revoked = orders.cancelled & self._held.keys() if orders.cancelled else orders.cancelled
            paused = orders.paused.intersection(want.queues)
        unfit, self._unfit = self._unfit, 0
        self._answered = seq, Answer(claims, self._settled[1], frozenset(revoked), paused, unfit=unfit)
        return self._answered[1]

    @contextmanager
    def leased(self) -> Iterator[None]:
        """The connection is the lease: when it breaks the server gives everything to others.

        Raises:
            SessionLost: it broke.
        """
        try:
            yield
        except Broken as error:
            self.lose()
            raise SessionLost(f"session {self.number} has ended with its connection: {error}") from error

    def lose(self) -> None:
        """Note that what comes again now comes from a worker that lives."""
        self.link.drop()
        self._excuse([one for one, _ in self._all()])

    def _excuse(self, ids: Sequence[str]) -> None:
        """What goes back now does so from a process that lives."""
        try:
            self._ledger.excuse(ids)
            self._ledger.end_runs([one for one in ids if one in self._held and self._held[one].entry.deaths])
        except BrokerUnreachable as error:
            self._broker.logger.warning("%d messages will count as if their worker had died: %s", len(ids), error)

    def _all(self) -> list[tuple[str, int]]:
        """Id and tag of everything that the server waits to hear of."""
        new = [(id_of(delivery), delivery.tag) for delivery in self.link.deliveries]
        waiting = [(entry.message_id, entry.delivery.tag) for entry in self._inbox]
        return new + waiting + [(one, held.entry.delivery.tag) for one, held in self._held.items()]

    def held_ids(self) -> frozenset[str]:
        return frozenset(self._held)

    # -- outcomes --------------------------------------------------------------------------------------

    def _settle(self, outcomes: Sequence[Outcome], orders: Orders) -> frozenset[str]:
        """Store what comes of the outcomes, then let their messages go; returns the refused ids.

        Rows first (writing them again changes nothing), then publishes with their confirms, then acks.
        """
        ours = [o for o in outcomes if self._holds(o.claim)]
        born = parcels(self._broker, ours)
        deaths = [self._death(o) for o in ours if o.kind is Kind.DEAD]
        released = [o.claim.message_id for o in ours if o.kind is Kind.RELEASED]
        dropped = {o.claim.message_id: o.claim.body for o in ours
                   if o.kind is Kind.RELEASED and o.claim.message_id in orders.cancelled}  # fmt: skip
        self._ledger.put_results([(o.claim.message_id, o.result) for o in ours if o.result is not None])
        self._ledger.bury(deaths)
        if dropped:
            self._ledger.carry_out(dropped)
        self._forget_counts(ours, orders)
        self._publish(born)
        self._ack([o.claim.message_id for o in ours if o.kind is not Kind.RELEASED] + list(dropped))
        self.give_back(set(released).difference(dropped))
        kept = {o.claim.message_id for o in ours}
        return frozenset(o.claim.message_id for o in outcomes if o.claim.message_id not in kept)

    def _holds(self, claim: Claim) -> bool:
        held = self._held.get(claim.message_id)
        return held is not None and held.claim.fence == claim.fence

    def _publish(self, born: Sequence[Parcel]) -> None:
        try:
            self._store.put(born)
        except EnqueueUnknown as error:  # the worker repeats the exchange, and with it this
            raise BrokerUnreachable(str(error)) from error

    def _forget_counts(self, ours: Sequence[Outcome], orders: Orders) -> None:
        over = [o.claim.message_id for o in ours if o.kind is not Kind.RELEASED]
        again = [one for one in over if self._held[one].entry.seen]
        if again:
            self._ledger.forget_deaths(again)
        late = orders.cancelled.intersection(over) if orders.cancelled else ()
        if late:
            self._ledger.forget_orders(list(late))

    def _death(self, outcome: Outcome) -> Death:
        entry, message = self._held[outcome.claim.message_id].entry, outcome.message
        return Death(
            outcome.claim.message_id,
            message.queue_name,
            message.actor_name,
            codec.encode(message),
            entry.note,
            entry.deaths,
            outcome.reason,
            outcome.failure.text if outcome.failure else "",
        )

    def _ack(self, message_ids: Iterable[str]) -> None:
        self._ack_tags([self._held[one].entry.delivery.tag for one in message_ids])
        for one in message_ids:
            del self._held[one]

    def _ack_tags(self, tags: Sequence[int]) -> None:
        """One frame for all up to the first that is still at work, one each for the others."""
        if not tags:
            return
        gone, oldest = set(tags), 0
        for tag in self._unsettled:
            if tag not in gone:
                break
            oldest = tag
        parts = [frames.ack(oldest, multiple=True)] if oldest else []
        parts += [frames.ack(tag) for tag in tags if tag > oldest]
        self.link.send(b"".join(parts))
        for tag in tags:
            self._unsettled.pop(tag, None)

    # -- consumers -------------------------------------------------------------------------------------

    def _consume(self, want: Want, orders: Orders) -> None:
        """Consume from what is wanted and stop where an operator paused."""
        consumed = {queue for queue, _ in self._consumers.values()}
        new = [q for q in want.queues if want.count and q not in consumed and q not in orders.paused]
        self._cancel([tag for tag, (queue, _) in self._consumers.items() if queue in orders.paused])
        self._gear(min(MOST_SENT, AHEAD * max(want.count + len(self._held), self._broker.settings.threads)))
        if new:
            self._start(new)

    def _gear(self, prefetch: int) -> None:
        """Be sent as much as the worker wants at a time: many fast tasks, or as few slow ones as it has threads."""
        if not self._consumers:
            self._prefetch = prefetch
        grows, shrinks = prefetch >= 2 * self._prefetch, 4 * prefetch <= self._prefetch
        if not (grows or shrinks) or time.monotonic() - self._geared_at < (GROW_S if grows else SHRINK_S):
            return
        queues = list(dict.fromkeys(queue for queue, _ in self._consumers.values()))
        self._cancel(list(self._consumers))
        self._prefetch, self._geared_at = prefetch, time.monotonic()
        if shrinks:
            self._admit()
            self._return(self._inbox.empty())  # the new consumers bring what fits
        self._start(queues)

    def _return(self, entries: Sequence[Entry]) -> None:
        """To the server, for any worker."""
        self._requeue([entry.message_id for entry in entries], [entry.delivery.tag for entry in entries])

    def _start(self, queues: Sequence[str]) -> None:
        self._store.publisher.forget()  # the server may be another one than last time
        self._store.publisher.declare(self.link, queues)
        calls: list[topology.Call] = [(spec.Basic.Qos(0, self._prefetch, False), spec.Basic.QosOk)]
        for queue in queues:
            for band, name in zip(topology.BANDS, self._store.names.queues(queue), strict=True):
                # A tag of its own each time: messages of the last consumer may still be unsettled.
                tag = f"{next(self._tags)}:{queue}:{band}"
                calls.append((spec.Basic.Consume(queue=name, consumer_tag=tag), spec.Basic.ConsumeOk))
                self._consumers[tag] = queue, band
        self.link.calls(calls)
        self._ask(queues)  # else a quick queue could be worked on before one of more urgent messages has answered

    def _cancel(self, tags: Sequence[str]) -> None:
        self._let_arrive(tags)
        self.link.calls([(spec.Basic.Cancel(tag), spec.Basic.CancelOk) for tag in tags])
        for tag in tags:
            del self._consumers[tag]

    def _let_arrive(self, tags: Sequence[str]) -> None:
        """Wait for what the server is about to send to these consumers. It would take that back when they end, mark it
        as delivered before, and so make it look like what a dead worker had."""
        deadline = time.monotonic() + ARRIVAL_S
        while self._is_sent_more(tags) and time.monotonic() < deadline:
            self.link.pump(LOOK_S)

    def _is_sent_more(self, tags: Sequence[str]) -> bool:
        """Whether a queue holds something although its consumer here may have more: then acks are on their way."""
        queues = [self._store.names.queue(*self._consumers[tag]) for tag in tags]
        answers = self.link.calls(topology.declaration(self._store.names, name) for name in queues)
        here = Counter(self._unsettled.values()) + Counter(delivery.consumer for delivery in self.link.deliveries)
        return any(
            answer.message_count and here[tag] < self._prefetch for tag, answer in zip(tags, answers, strict=True)
        )

    # -- claims ----------------------------------------------------------------------------------------

    def _claim(self, seq: int, want: Want, orders: Orders, *, is_a_look: bool) -> tuple[Claim, ...]:
        if want.count <= 0:
            return ()
        queues = [queue for queue in want.queues if queue not in orders.paused]
        self._admit()
        claims = self._hand_out(seq, queues, want, orders)
        if not claims and is_a_look:
            self._ask(queues)
            self._admit()
            claims = self._hand_out(seq, queues, want, orders)
        return tuple(claims)

    def _ask(self, queues: Sequence[str]) -> None:
        """A round trip through each queue: what it had for us is on its way when it answers, at the latest in the
        inbox of our channel, which hands it on before it answers the next call."""
        names = [name for queue in queues for name in self._store.names.queues(queue)]
        self.link.calls(topology.declaration(self._store.names, name) for name in names)
        self._ping()

    def _admit(self) -> None:
        """Take in what arrived; whatever came again is counted first."""
        new = self.link.deliveries
        if not new:
            return
        again = [id_of(delivery) for delivery in new if delivery.is_redelivered]
        counts = self._ledger.came_again(again) if again else {}
        for delivery in new:
            self._unsettled[delivery.tag] = delivery.consumer
            message_id = id_of(delivery)
            seen, deaths = counts.get(message_id, (0, 0))
            self._inbox.put(self._entry(delivery, message_id, seen, deaths))
        new.clear()

    def _entry(self, delivery: Delivery, message_id: str, seen: int, deaths: int) -> Entry:
        _, queue, band = delivery.consumer.split(":")
        return Entry(
            topology.rank(band),
            self._inbox.next_arrival(),
            queue,
            message_id,
            delivery,
            read_note(delivery),
            seen,
            deaths,
        )

    def _hand_out(self, seq: int, queues: Sequence[str], want: Want, orders: Orders) -> list[Claim]:
        taken, dropped = self._inbox.take(queues, want.count, seq, self._judge(want, orders))
        try:
            self._drop(dropped, orders)
            read = [self._read(entry) for entry in taken]
            self._bury([one for one in read if isinstance(one, Burial)])
            sound = [one for one in read if not isinstance(one, Burial)]
            self._ledger.begin_runs([entry.message_id for entry, _ in sound if entry.deaths])
        except BaseException:
            self._put_back([*taken, *dropped])
            raise
        self._unfit += len(taken) + len(dropped) - len(sound)
        return sorted((self._claim_of(*one) for one in sound), key=lambda claim: claim.priority)

    def _put_back(self, entries: Sequence[Entry]) -> None:
        """What could not be handed out waits for the next try."""
        for entry in entries:
            if entry.delivery.tag in self._unsettled:
                self._inbox.put(entry)

    def _judge(self, want: Want, orders: Orders) -> Judging:
        return Judging(self._held, orders.cancelled, want.suspect)

    def _drop(self, entries: Sequence[Entry], orders: Orders) -> None:
        """Copies of what we hold, and what an operator cancelled."""
        if not entries:
            return
        cancelled = {entry.message_id: readable(entry.delivery.body) for entry in entries
                     if entry.message_id in orders.cancelled}  # fmt: skip
        if cancelled:
            self._ledger.carry_out(cancelled)
        self._ack_tags([entry.delivery.tag for entry in entries])

    def _read(self, entry: Entry) -> tuple[Entry, Message[Any]] | Burial:
        """The message; what can never run is a dead letter instead."""
        try:
            message = codec.decode(entry.delivery.body)
        except ValueError as error:
            return Burial(entry, "unknown", "undecodable message", str(error))
        if entry.deaths >= self._broker.max_deliveries_of(message.actor_name):
            return Burial(entry, message.actor_name, died_with_its_process(entry.deaths))
        if message.message_id != entry.message_id or message.queue_name != entry.queue:
            message = message.copy(message_id=entry.message_id, queue_name=entry.queue)
        return entry, message

    def _claim_of(self, entry: Entry, message: Message[Any]) -> Claim:
        entry.handed += 1
        body = entry.delivery.body.decode()
        claim = claim_of(claimable(self._broker, message), entry.note, body, entry.fence, entry.deaths)
        self._held[entry.message_id] = Held(entry, claim)
        return claim

    def _bury(self, burials: Sequence[Burial]) -> None:
        if not burials:
            return
        each = {one.entry.message_id: one for one in burials}
        self._ledger.put_results([(message_id, ended_badly(one.reason)) for message_id, one in each.items()])
        self._ledger.bury([one.death for one in each.values()])
        self._ack_tags([one.entry.delivery.tag for one in burials])
        self._ledger.forget_deaths(list(each))
        for one in each.values():
            if not one.error:
                task_settled.emit(one.settled)

    # -- the end ---------------------------------------------------------------------------------------

    def renew(self) -> frozenset[str]:
        """A round trip, so that both sides know that the other is there."""
        with self.leased():
            self.link.tick()
            self._ping()
        return self.held_ids()

    def _ping(self) -> None:
        """A round trip through our channel. It sets what only a later consumer would use, and that is set before."""
        self.link.call(spec.Basic.Qos(0, 0, False), spec.Basic.QosOk)

    def give_back(self, message_ids: Iterable[str]) -> None:
        """To the inbox, for the next free thread."""
        ours = set(message_ids) & self._held.keys()
        self._ledger.end_runs([one for one in ours if self._held[one].entry.deaths])
        for one in ours:
            self._inbox.put(self._held.pop(one).entry)

    def stop(self) -> None:
        """Consume nothing more and give back what nobody started."""
        with self.leased():
            self._cancel(list(self._consumers))
            ids = [id_of(delivery) for delivery in self.link.deliveries]
            tags = [delivery.tag for delivery in self.link.deliveries]
            for entry in self._inbox.empty():
                ids.append(entry.message_id)
                tags.append(entry.delivery.tag)
            self.link.deliveries.clear()
            self._requeue(ids, tags)

    def close(self, *, is_a_death: bool = False) -> int:
        """Give everything back and end. Returns how many claims that were.

        Parameters:
            is_a_death: the process of the session is gone, and it counts.
        """
        held = len(self._held)
        try:
            with self.leased():
                queues = {queue for queue, _ in self._consumers.values()}
                self._cancel(list(self._consumers))
                everything = self._all()  # with what arrived until now
                ids = [] if is_a_death else [one for one, _ in everything]
                self._requeue(ids, [tag for _, tag in everything])
                self._ask(sorted(queues))
        except SessionLost:
            return held
        finally:
            self._held.clear()
            self._inbox.empty()
        self.link.close()
        return held

    def _requeue(self, ids: Sequence[str], tags: Sequence[int]) -> None:
        if not tags:
            return
        self._excuse(ids)
        self.link.send(frames.requeue(tags))
        for tag in tags:
            self._unsettled.pop(tag, None)


class Judging:
    """Which entries may be handed out now: at most one suspect, no copy of what is held, nothing cancelled."""

    def __init__(self, held: dict[str, Held], cancelled: frozenset[str], suspect: bool) -> None:
        self._held = held
        self._cancelled = cancelled
        self._suspect = suspect
        self._taken: set[str] = set()

    def __call__(self, entry: Entry) -> bool | None:
        one = entry.message_id
        if one in self._cancelled or one in self._taken:
            return False
        held = self._held.get(one)
        if held is not None:
            return None if entry.note.fence >= held.claim.fence else False
        if entry.deaths:
            if not self._suspect:
                return None
            self._suspect = False
        self._taken.add(one)
        return True
