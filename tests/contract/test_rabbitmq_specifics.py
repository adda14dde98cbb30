"""What only the RabbitMQ broker has: its queues, its ladder, its database, and what others put into its queues."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.models import F
from pika import spec

from django_cfg.errors import BrokerError, BrokerUnreachable, ConfigurationError, EnqueueUnknown, SessionLost
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.contract import Claim, DeadFilter, FollowUp
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.brokers.rabbitmq import frames, topology
from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.broker import RabbitBroker
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.tasks.cron import look, ping
from django_cfg.tasks.models import Cancellation, DeadLetter, QueueMessage, Redelivery, Tick
from django_cfg.testing.contracts import (
    QUEUE,
    Client,
    Failing,
    dead_process,
    declare,
    done,
    ids,
    message,
    released,
    retry,
    stats,
    working,
)
from django_cfg.testing.waiting import eventually
from tests.contract.conftest import FAST, serving
from tests.contract.redis_server import losing_proxy
from tests.unit.tasks.cron.clock import Clock, entries, scheduler

pytestmark = [pytest.mark.rabbitmq, pytest.mark.django_db(transaction=True)]
MINUTE_MS = 60_000


@pytest.fixture
def broker(rabbitmq_broker: RabbitBroker) -> RabbitBroker:
    return rabbitmq_broker


def raw(broker: RabbitBroker, body: bytes, message_id: str = "", queue: str = QUEUE) -> None:
    """Put something into a queue as a foreign program would."""
    with broker.kept.publisher.link() as link:
        broker.kept.publisher.declare(link, [queue])
        head = frames.publish_head("", broker.kept.names.queue(queue))
        link.publish([head + frames.content(message_id, "", body, link.frame_max)])


# -- producers -------------------------------------------------------------------------------------------------


def test_a_deleted_queue_is_made_anew_by_the_next_send(broker: RabbitBroker) -> None:
    broker.enqueue(message())
    with broker.kept.publisher.link() as link:
        link.call(spec.Queue.Delete(queue=broker.kept.names.queue(QUEUE)), spec.Queue.DeleteOk)
    sent = broker.enqueue(message())
    assert ids(Client(broker).claim()) == [sent.message_id]


def test_a_message_larger_than_a_frame_arrives_whole(broker: RabbitBroker) -> None:
    text = "ä" * 49_000
    broker.settings = broker.settings.__class__(**{**vars(broker.settings), "max_payload_bytes": 10**6})
    broker.enqueue(message("work", text * 4))
    (claim,) = Client(broker).claim()
    assert claim.message.args == (text * 4,)


def test_threads_send_at_once_to_queues_that_nobody_has_made_yet(broker: RabbitBroker) -> None:
    queues = [f"q{number}" for number in range(12)]
    for queue in queues:
        broker.declare_queue(queue)  # for whoever tidies up
    with ThreadPoolExecutor(5) as threads:
        for queue in queues:
            list(threads.map(lambda _, queue=queue: broker.enqueue(message(queue=queue)), range(5)))
    assert [stats(broker, queue).pending for queue in queues] == [5] * len(queues)


def test_what_a_full_queue_refuses_is_sent_again_when_there_is_room(
    broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, refused = broker.enqueue(message()), message()
    really, tries = Link.publish, iter([[0], [0]])
    monkeypatch.setattr(Link, "publish", lambda link, letters: next(tries, None) or really(link, letters))
    broker.enqueue(refused)
    assert ids(Client(broker).claim()) == [sent.message_id, refused.message_id]


def test_what_a_server_goes_on_to_refuse_was_not_stored(broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_cfg.tasks.brokers.rabbitmq.producing.REFUSED_S", 0.05)
    monkeypatch.setattr(Link, "publish", lambda link, letters: [*range(len(letters))])
    with pytest.raises(BrokerUnreachable, match="refused 2 of 2"):
        broker.enqueue_many([message(), message()])
    monkeypatch.setattr(Link, "publish", lambda link, letters: [0])
    with pytest.raises(EnqueueUnknown, match="refused 1 of 2"):
        broker.enqueue_many([message(), message()])


def test_a_fork_sends_over_connections_of_its_own(broker: RabbitBroker) -> None:
    broker.enqueue(message())
    child = os.fork()
    if child == 0:
        try:
            broker.kept.publisher.publish(broker._parcels([FollowUp(message())]))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    broker.enqueue(message())
    eventually(lambda: stats(broker).pending == 3)


def test_an_answer_that_is_lost_is_an_enqueue_of_unknown_end(broker: RabbitBroker) -> None:
    with losing_proxy(django_settings.RABBITMQ_PORT) as proxy:
        through = address(f"amqp://guest:guest@127.0.0.1:{proxy.port}/")
        broker.kept.publisher.address = through
        broker.kept.publisher.close()
        broker.enqueue(message())
        proxy.lose_answer_to("lost on purpose")
        with pytest.raises(EnqueueUnknown, match="may or may not be there"):
            broker.enqueue(message("work", "lost on purpose"))
        broker.enqueue(message())  # over a new connection
    assert stats(broker).pending == 3


def test_nobody_there_is_said_without_the_password() -> None:
    link = Link(address("amqp://shop:secret@127.0.0.1:1/"))
    with pytest.raises(BrokerUnreachable, match=r"amqp://shop:\*\*\*@127.0.0.1:1/ does not answer"):
        link.connect()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("amqp://guest:wrong@{place}/", "403 ACCESS_REFUSED.*check user, password"),
        ("amqp://guest:guest@{place}/no-such-host", "530 NOT_ALLOWED.*create the virtual host"),
    ],
)
def test_a_refusal_says_what_to_do(url: str, text: str) -> None:
    place = f"{django_settings.RABBITMQ_HOST}:{django_settings.RABBITMQ_PORT}"
    with pytest.raises(BrokerError, match=text) as caught:
        Link(address(url.format(place=place))).connect()
    assert "wrong" not in str(caught.value)


def test_a_queue_with_other_properties_is_named_with_a_cure(broker: RabbitBroker) -> None:
    name = broker.kept.names.queue("strange")
    with broker.kept.publisher.link() as link:
        link.call(spec.Queue.Declare(queue=name, durable=True), spec.Queue.DeclareOk)
    try:
        with pytest.raises(BrokerError, match=r"406.*another rabbitmq_prefix"):
            broker.enqueue(message(queue="strange"))
    finally:
        with broker.kept.publisher.link() as link:
            for one in broker.kept.names.queues("strange"):  # those of other priorities were made before it
                link.call(spec.Queue.Delete(queue=one), spec.Queue.DeleteOk)


def test_results_in_another_store_than_a_database_are_refused() -> None:
    settings = {"broker_url": "amqp://localhost/", "result_backend": "redis://localhost/1"}
    with pytest.raises(ConfigurationError, match="result_backend"):
        make.make(FAST.__class__(**{**vars(FAST), **settings}))


# -- delays ----------------------------------------------------------------------------------------------------


def test_a_delay_above_the_ladder_is_a_row_until_it_is_due(broker: RabbitBroker) -> None:
    sent = broker.enqueue(message("work", 1), delay=16 * MINUTE_MS)
    client = Client(broker)
    assert (client.claim(), stats(broker).scheduled) == ([], 1)
    broker.sweep(identity())
    assert stats(broker).scheduled == 1
    QueueMessage.objects.update(due_at=F("due_at") - 17 * MINUTE_MS)
    broker.sweep(identity())
    claim = client.claim_soon()
    assert (claim.message, stats(broker).scheduled) == (sent, 0)


def test_a_retry_above_the_ladder_keeps_its_fence_and_its_age(broker: RabbitBroker) -> None:
    broker.enqueue(message())
    client = Client(broker)
    (first,) = client.claim()
    client.exchange(retry(first, 16 * MINUTE_MS, retries=1), count=0)
    QueueMessage.objects.update(due_at=0)
    broker.sweep(identity())
    second = client.claim_soon()
    assert second.message.options["retries"] == 1
    assert second.fence > first.fence
    assert second.enqueued_at_ms == first.enqueued_at_ms


def test_a_cancelled_long_delay_is_gone_at_once(broker: RabbitBroker) -> None:
    sent = broker.enqueue(message(), delay=16 * MINUTE_MS)
    assert broker.cancel(sent.message_id)
    assert not QueueMessage.objects.exists()
    assert not Cancellation.objects.exists()
    assert broker.load_result(sent.message_id)[0]


@pytest.mark.parametrize("delay_ms", [1, 50, 51, 370, 1_250])
def test_a_delay_is_never_cut_short(broker: RabbitBroker, delay_ms: int) -> None:
    broker.enqueue(message(), delay=delay_ms)
    claim = Client(broker).claim_soon()
    assert claim.age_ms >= delay_ms - 5  # timers of two processes


def test_the_longest_delay_of_the_ladder_fits_its_steps() -> None:
    names = topology.Names("p")
    exchange, key = names.route("q", 0, topology.LONGEST_MS)
    assert exchange == f"p:delay:{topology.STEPS - 1}"
    assert key.startswith("1.")
    assert len(names.route("q" * 200, 1, topology.LONGEST_MS).routing_key) + 15 <= 255


# -- what others put there ---------------------------------------------------------------------------------------


def test_what_nobody_can_read_is_a_dead_letter_and_harms_nobody(broker: RabbitBroker) -> None:
    raw(broker, b"\xff no \0 JSON")
    raw(broker, b"")
    sent = broker.enqueue(message())
    client = Client(broker)
    eventually(lambda: ids(client.claim()) == [sent.message_id])
    letters = broker.dead_letters(DeadFilter(everything=True))
    assert [letter.reason for letter in letters] == ["undecodable message"] * 2
    assert [letter.message for letter in letters] == [None, None]


def test_what_nobody_can_read_is_buried_together_and_told(
    broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    burials, bury = list[int](), broker.kept.ledger.bury
    monkeypatch.setattr(broker.kept.ledger, "bury", lambda deaths: (burials.append(len(deaths)), bury(deaths)))
    for number in range(20):
        raw(broker, b"no JSON %d" % number)
    client, told = Client(broker), 0
    while told < 20:
        answer = client.exchange(count=20)
        assert answer.claims == ()
        told += answer.unfit
    assert (told, stats(broker).dead) == (20, 20)
    assert len([number for number in burials if number]) < 20


def test_a_message_without_a_note_runs(broker: RabbitBroker) -> None:
    raw(broker, broker.encode(message("work", 1)).encode())
    (claim,) = Client(broker).claim()
    assert claim.message.args == (1,)
    assert (claim.priority, claim.deliveries, claim.fence) == (0, 0, 1)


def test_what_the_delivery_limit_threw_out_is_a_dead_letter(broker: RabbitBroker) -> None:
    sent = broker.enqueue(message())
    link = Link(broker.kept.address)
    link.connect()
    name = broker.kept.names.queue(QUEUE)
    for _ in range(topology.DELIVERY_LIMIT + 1):
        link.send(frames.method(frames.CHANNEL, spec.Basic.Get(queue=name)))
        delivery = link.got()
        assert delivery is not None
        link.send(frames.requeue([delivery.tag]))
    link.close()

    def collected() -> bool:
        broker.sweep(identity())
        return DeadLetter.objects.exists()

    eventually(collected)
    (letter,) = broker.dead_letters(DeadFilter(everything=True))
    assert (letter.message_id, letter.reason) == (
        sent.message_id,
        "delivered too often (the delivery limit of its queue)",
    )


def test_a_keeper_may_sweep_before_anybody_has_made_a_queue(transactional_db: None) -> None:
    fresh = f"{django_settings.RABBITMQ_PREFIX}-{uuid4().hex[:8]}"
    for broker in serving(django_settings.RABBITMQ_URL, rabbitmq_prefix=fresh):
        assert broker.sweep(identity()) == 0


# -- sessions ----------------------------------------------------------------------------------------------------


def test_two_copies_of_one_id_do_not_run_side_by_side(broker: RabbitBroker) -> None:
    sent = message()
    broker.enqueue(sent)
    broker.enqueue(sent)
    client = Client(broker)
    (claim,) = client.claim()
    client.exchange(done(claim), count=0)
    assert client.claim() == []
    assert stats(broker).pending == 0


def test_a_session_whose_connection_breaks_is_lost_and_its_claims_count_for_nothing(broker: RabbitBroker) -> None:
    broker.enqueue_many([message(), message()])
    client = Client(broker)
    (claim,) = client.claim(count=1)
    broker._sessions[client.session.id].link._socket.close()
    with pytest.raises(SessionLost):
        client.exchange(done(claim))
    with pytest.raises(SessionLost):
        broker.renew(client.session)
    other, found = Client(broker), []

    def both() -> bool:
        found.extend(other.claim())
        return len(found) == 2

    eventually(both)
    assert [claim.deliveries for claim in found] == [0, 0]
    assert max(claim.fence for claim in found) > claim.fence or found[0].fence > claim.fence


def test_a_finished_suspect_leaves_no_count(broker: RabbitBroker) -> None:
    broker.enqueue(message())
    Client(broker, dead_process()).claim()
    broker.sweep(identity())
    client = Client(broker)
    (claim,) = client.claim()
    assert claim.deliveries == 1
    client.exchange(done(claim), count=0)
    assert not Redelivery.objects.exists()


def test_what_was_sent_ahead_goes_back_when_a_worker_stops_to_claim(broker: RabbitBroker) -> None:
    broker.enqueue_many([message() for _ in range(5)])
    client = Client(broker)
    (claim,) = client.claim(count=1)
    broker.stop_sending(client.session)
    others = Client(broker)
    assert [c.deliveries for c in others.claim()] == [0, 0, 0, 0]
    assert client.exchange(done(claim), count=0).refused == frozenset()


def test_what_arrives_while_a_session_closes_is_no_death(broker: RabbitBroker) -> None:
    for _ in range(25):
        client = Client(broker)
        client.claim()
        broker.enqueue(message())
        broker.close_session(client.session)
        others = Client(broker)
        claim = others.claim_soon()
        assert claim.deliveries == 0
        others.exchange(done(claim), count=0)
        broker.close_session(others.session)


def test_a_paused_queue_keeps_what_was_sent_ahead_unstarted(broker: RabbitBroker) -> None:
    broker.enqueue_many([message() for _ in range(3)])
    client = Client(broker)
    client.claim(count=1)
    broker.pause(QUEUE)
    assert client.claim() == []
    broker.resume(QUEUE)
    assert len(client.claim()) == 2


def test_who_waits_beside_a_suspect_is_not_to_blame(broker: RabbitBroker) -> None:
    broker.enqueue_many([message("killer"), message("bystander"), message("bystander")])
    Client(broker, dead_process()).claim()
    broker.sweep(identity())
    runs: list[str] = []
    client = Client(broker, dead_process())
    while claims := client.claim():
        (claim,) = claims
        runs.append(claim.message.actor_name)
        if claim.message.actor_name == "killer":
            broker.sweep(identity())
            client = Client(broker, dead_process())
        else:
            client.exchange(done(claim), count=0)
    assert Counter(runs) == {"killer": broker.settings.max_deliveries - 1, "bystander": 2}
    assert [letter.task for letter in broker.dead_letters(DeadFilter(everything=True))] == ["killer"]
    assert not Redelivery.objects.exists()


def test_a_look_sees_what_was_accepted_before_it(broker: RabbitBroker) -> None:
    declare(lambda: None, actor_name="early", priority=-10)
    for _ in range(40):
        broker.enqueue(message("work"))
        broker.enqueue(message("early"))
        client = Client(broker)
        claims = client.claim()
        assert [claim.message.actor_name for claim in claims] == ["early", "work"]
        client.exchange(*map(done, claims), count=0)
        broker.close_session(client.session)


def test_each_priority_band_is_served_before_the_next(broker: RabbitBroker) -> None:
    for name, priority in (("low", 7), ("normal", 0), ("high", -7)):
        declare(lambda: None, actor_name=name, priority=priority)
        broker.enqueue_many([message(name) for _ in range(3)])
    claims = Client(broker).claim(count=9)
    assert [claim.message.actor_name for claim in claims] == ["high"] * 3 + ["normal"] * 3 + ["low"] * 3


def test_a_cancelled_message_that_was_given_back_is_dropped_with_its_order(broker: RabbitBroker) -> None:
    sent = broker.enqueue(message())
    client = Client(broker)
    (claim,) = client.claim()
    broker.cancel(sent.message_id)
    assert client.exchange(released(claim)).claims == ()
    assert not Cancellation.objects.exists()
    assert broker.load_result(sent.message_id)[0]
    assert stats(broker).pending == 0


@pytest.mark.parametrize("call", [lambda b: b.peek(QUEUE), lambda b: b.holds("x"), lambda b: b.join(QUEUE)])
def test_what_rabbitmq_cannot_tell_is_refused_with_a_reason(
    broker: RabbitBroker, call: Callable[[RabbitBroker], object]
) -> None:
    with pytest.raises(BrokerError, match=r"cannot|without delivering"):
        call(broker)


def test_a_worker_is_sent_as_much_as_it_wants_at_a_time(broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("GROW_S", "SHRINK_S"):
        monkeypatch.setattr(f"django_cfg.tasks.brokers.rabbitmq.session.{pause}", 0.0)
    broker.enqueue_many([message("work", n) for n in range(100)])
    client, found = Client(broker), list[Claim]()

    def taken(client: Client, found: list[Claim], count: int) -> bool:
        found.extend(client.claim(count=count - len(found)))
        return len(found) == count

    found.extend(client.claim(count=4))
    assert stats(broker).pending == 100 - 2 * broker.settings.threads
    eventually(lambda: taken(client, found, 100))
    client.exchange(*map(released, found), count=1)  # its tasks are slow now: others may have the rest
    other, rest = Client(broker), list[Claim]()
    eventually(lambda: taken(other, rest, 100 - 2 * broker.settings.threads - 1))
    assert {claim.deliveries for claim in rest} == {0}


def test_workers_without_tables_refuse_to_start_and_say_how_to_make_them(broker: RabbitBroker) -> None:
    broker.refuse_to_start()
    with connection.schema_editor() as editor:
        editor.delete_model(QueueMessage)
    try:
        with pytest.raises(ConfigurationError, match=r"manage\.py migrate"):
            broker.refuse_to_start()
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(QueueMessage)


def test_a_change_of_the_prefetch_makes_nothing_a_suspect(
    broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes back what it has sent to a consumer that ends, and marks it as delivered before."""
    for pause in ("GROW_S", "SHRINK_S"):
        monkeypatch.setattr(f"django_cfg.tasks.brokers.rabbitmq.session.{pause}", 0.0)
    broker.enqueue_many([message("work", n) for n in range(2000)])
    client = Client(broker)
    seen: list[int] = []
    held: tuple[Claim, ...] = ()
    for wanted in [2, 40] * 40:
        for _ in range(2):
            held = client.exchange(*map(done, held), count=wanted).claims
            seen += [claim.deliveries for claim in held]
    assert len(seen) > 200
    assert set(seen) == {0}
    assert [str(row) for row in Redelivery.objects.all() if row.deaths] == []


# -- schedules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_a_schedule_knows_when_its_last_run_has_ended(
    broker: RabbitBroker, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, gate, asked = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr(ping, "ask", lambda url: asked.append(url) or "")

    def job() -> None:
        started.set()
        gate.wait(10)
        if fails:
            raise Failing("on purpose")

    declare(job, store_results=False, max_retries=0)
    clock = Clock("2026-01-01T00:00:00Z")
    first_ms = clock.now_ms = (round(time.time()) // 3600 + 1) * 3_600_000
    code = entries({"every_s": 3600, "overlap": "skip", "ping_url": "https://switch"})
    clock.now_ms -= 1000
    ticker = scheduler(broker, clock, code)
    clock.now_ms = first_ms
    ticker.turn()
    (tick,) = Tick.objects.all()

    def outcome() -> str:
        return look.ticks(broker, tick.schedule)[-1].outcome

    with working(broker):
        assert started.wait(10)
        clock.now_ms += 3_600_000
        ticker.turn()
        ping.ping_ended(broker, code)
        assert (outcome(), asked) == ("waits or runs", [])
        gate.set()
        eventually(lambda: outcome() != "waits or runs")
        ping.ping_ended(broker, code)
        assert asked == ["https://switch/fail" if fails else "https://switch"]
        clock.now_ms += 3_600_000
        ticker.turn()
    states = Tick.objects.order_by("nominal_at").values_list("state", flat=True)
    assert list(states) == ["enqueued", "skipped", "enqueued"]
