"""What stands in Redis, and what the broker does when the server fails it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import transaction
from django.test import override_settings
from dramatiq import Message

from django_cfg.errors import BrokerError, BrokerUnreachable, ConfigurationError, EnqueueUnknown, SessionLost
from django_cfg.tasks.brokers import make
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.brokers.process import identity
from django_cfg.tasks.brokers.redis.broker import RedisBroker
from django_cfg.tasks.brokers.redis.scripts import ENQUEUE_ONE, EXCHANGE
from django_cfg.tasks.lifecycle import State
from django_cfg.testing.contracts import (
    QUEUE,
    Client,
    Failing,
    dead,
    dead_process,
    declare,
    done,
    ids,
    message,
    released,
    retry,
    settled_events,
    stats,
    working,
)
from django_cfg.testing.waiting import eventually
from tests.contract.conftest import FAST, serving
from tests.contract.redis_server import OwnServer, free_port, losing_proxy, own_server

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
served = contextmanager(serving)
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
EVERYTHING = DeadFilter(everything=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    with own_server(tmp_path) as started:
        yield started


@pytest.fixture
def broker(server: OwnServer) -> Iterator[EngineBroker]:
    yield from serving(server.url)


@pytest.fixture
def admin(server: OwnServer) -> Iterator[redis.Redis]:
    with server.admin() as client:
        yield client


@contextmanager
def unconnected(url: str, **more: Any) -> Iterator[RedisBroker]:
    """A second broker, as another process would have it."""
    broker = make.make(replace(FAST, broker_url=url, **more))
    assert isinstance(broker, RedisBroker)
    yield broker
    broker.close()


# -- the keys that operators know -----------------------------------------------------------------------------


def test_llen_of_a_queue_is_what_waits_with_normal_priority(broker: EngineBroker, admin: redis.Redis) -> None:
    declare(lambda: None, actor_name="urgent", priority=-5)
    broker.enqueue_many([message("work", n, queue="knowledge") for n in range(5)])
    broker.enqueue(message("urgent", queue="knowledge"))
    broker.enqueue(message("work", queue="knowledge"), delay=60_000)
    assert admin.llen("dramatiq:queue:knowledge") == 5
    assert stats(broker, "knowledge").pending == 6
    client = Client(broker)
    claims = client.claim(count=3, queues=("knowledge",))
    assert admin.llen("dramatiq:queue:knowledge") == 3
    client.exchange(*map(released, claims), count=0)
    assert admin.llen("dramatiq:queue:knowledge") == 5


def test_llen_of_the_dq_list_is_the_number_of_dead_letters(broker: EngineBroker, admin: redis.Redis) -> None:
    broker.enqueue_many([message("work", n) for n in range(3)])
    client = Client(broker)
    client.exchange(*map(dead, client.claim()), count=0)
    assert (admin.llen("dramatiq:queue:default.DQ"), admin.hlen("dramatiq:dead")) == (3, 3)
    assert broker.retry_dead(DeadFilter(message_ids=(broker.dead_letters(EVERYTHING)[0].message_id,))) == 1
    assert (admin.llen("dramatiq:queue:default.DQ"), admin.llen("dramatiq:queue:default")) == (2, 1)
    assert broker.clear_dead(EVERYTHING) == 2
    assert (admin.llen("dramatiq:queue:default.DQ"), admin.hlen("dramatiq:dead")) == (0, 0)


def test_a_dead_id_that_is_sent_again_is_dead_no_more(broker: EngineBroker, admin: redis.Redis) -> None:
    sent = broker.enqueue(message())
    client = Client(broker)
    client.exchange(*map(dead, client.claim()), count=0)
    broker.enqueue(sent.copy(queue_name="elsewhere"))
    assert (admin.llen("dramatiq:queue:default.DQ"), admin.llen("dramatiq:queue:elsewhere")) == (0, 1)


def test_many_dead_letters_move_and_come_newest_first(broker: EngineBroker) -> None:
    broker.enqueue_many([message("odd" if n % 2 else "even", n) for n in range(450)])
    client = Client(broker)
    while claims := client.claim(count=100):
        client.exchange(*map(dead, claims), count=0)
    newest = broker.dead_letters(EVERYTHING, limit=2)
    assert [letter.message.args for letter in newest if letter.message] == [(449,), (448,)]
    assert broker.retry_dead(DeadFilter(task="odd")) == 225
    assert (stats(broker).dead, stats(broker).pending) == (225, 225)


def test_finished_work_leaves_nothing_behind(broker: EngineBroker, admin: redis.Redis) -> None:
    broker.enqueue_many([message("work", n) for n in range(10)])
    client = Client(broker)
    client.exchange(*map(done, client.claim()), count=0)
    broker.close_session(client.session)
    kept = {key for key in admin.scan_iter() if not key.startswith("dramatiq:producer:")}
    names = ("counter", "owner", "queues", "running", "warned")
    assert kept == {f"dramatiq:{name}" for name in names}
    assert admin.hgetall("dramatiq:running") == {"default": "0"}


def test_flushing_a_queue_leaves_other_queues_alone(broker: EngineBroker) -> None:
    broker.enqueue_many([message("work", n) for n in range(3)])
    broker.enqueue(message("work"), delay=60_000)
    broker.enqueue(message("work", queue="other"))
    broker.flush(QUEUE)
    assert (stats(broker).pending, stats(broker).scheduled, stats(broker, "other").pending) == (0, 0, 1)


def test_flushing_a_queue_takes_what_is_claimed_along(broker: EngineBroker) -> None:
    client = Client(broker)
    broker.enqueue_many([message("work"), message("work", queue="other")])
    mine, other = client.claim(queues=(QUEUE, "other"))
    broker.flush(QUEUE)
    assert (stats(broker).running, stats(broker, "other").running) == (0, 1)
    assert not broker.holds(mine.message_id)
    answer = client.exchange(done(mine), done(other))
    assert answer.refused == {mine.message_id}
    assert stats(broker, "other").running == 0


def test_very_many_that_are_due_at_once_run_oldest_first(broker: EngineBroker) -> None:
    late = [message("late", n) for n in range(5000)]
    broker.enqueue_many(late, delay=1)
    time.sleep(0.005)
    broker.enqueue_many([message("next", n) for n in range(10)])
    client, came = Client(broker), []
    while claims := client.claim(count=128):
        came += [(claim.message.actor_name, claim.message.args[0]) for claim in claims]
        client.exchange(*map(done, claims), count=0)
    assert came == [*(("late", n) for n in range(5000)), *(("next", n) for n in range(10))]


@pytest.mark.parametrize("is_retry", [False, True], ids=["delayed", "retry"])
def test_an_urgent_task_that_becomes_due_runs_before_all_that_waits(broker: EngineBroker, is_retry: bool) -> None:
    declare(lambda: None, actor_name="urgent", priority=-5)
    client = Client(broker)
    broker.enqueue_many([message("work", n) for n in range(1000)])
    sent = broker.enqueue(message("urgent"), delay=None if is_retry else 50)
    if is_retry:
        (claim,) = client.claim(count=1)
        client.exchange(retry(claim, 50), count=0)
    cancelled = broker.enqueue_many([message("urgent")], delay=50)[0]
    place = broker.whereabouts(sent.message_id)
    assert place is not None and place.state is (State.RETRYING if is_retry else State.SCHEDULED)
    assert broker.cancel(cancelled.message_id)
    (urgent, *others) = eventually(lambda: client.claim(count=3) if is_due(broker, sent) else None)
    assert (urgent.message_id, [claim.message.args for claim in others]) == (sent.message_id, [(0,), (1,)])


def is_due(broker: EngineBroker, sent: Message[Any]) -> bool:
    place = broker.whereabouts(sent.message_id)
    return place is not None and place.due_in_s == 0


def test_flushing_everything_touches_no_key_of_anybody_else(server: OwnServer, admin: redis.Redis) -> None:
    admin.set("dramatiqX:foreign", "1")
    admin.set("d?amatiq:foreign", "1")
    with unconnected(server.url, redis_key_prefix="d?amatiq") as mine, unconnected(server.url) as other:
        other.enqueue(message())
        mine.flush_all()
        assert other.queue_stats()[0].pending == 1
        other.flush_all()
    assert list(admin.scan_iter()) == ["dramatiqX:foreign"]


@pytest.mark.parametrize("garbage", ["no head at all", "0 0 1 0 1 1 default work\n{broken", b"\xff\xfe\n\xff"])
def test_what_nobody_can_read_becomes_a_dead_letter_and_harms_nobody(
    broker: EngineBroker, admin: redis.Redis, garbage: Any
) -> None:
    admin.hset("dramatiq:messages", "bad", garbage)
    admin.rpush("dramatiq:queue:default", "bad", "an id without a message")
    echo = declare(lambda n: n, actor_name="echo")
    with working(broker):
        assert echo.send(1).get_result(block=True, timeout=5000) == 1
        eventually(lambda: stats(broker).dead == 1)
    (letter,) = broker.dead_letters(EVERYTHING)
    assert (letter.message_id, letter.reason, letter.message) == ("bad", "undecodable message", None)
    assert broker.retry_dead(EVERYTHING) == 0
    assert broker.clear_dead(EVERYTHING) == 1


# -- where it may run -----------------------------------------------------------------------------------------


def test_many_that_nobody_can_read_are_buried_in_one_step_each_with_its_reason(
    broker: EngineBroker, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(broker, "encode", lambda _: "not JSON")
        broker.enqueue_many([message() for _ in range(50)])
    [good] = broker.enqueue_many([message()])
    client = Client(broker)
    admin.config_resetstat()
    answer = client.exchange(count=60)
    scripts = admin.info("commandstats")
    assert [claim.message_id for claim in answer.claims] == [good.message_id] and answer.unfit == 50
    assert sum(stat["calls"] for name, stat in scripts.items() if "eval" in name) <= 4
    letters = broker.dead_letters(EVERYTHING, 100)
    assert {letter.reason for letter in letters} == {"undecodable message"} and len(letters) == 50
    assert stats(broker).running == 1


def everything_works(broker: EngineBroker) -> None:
    def fails() -> None:
        raise Failing("no")

    echo, failing = declare(lambda n: n, actor_name="echo"), declare(fails, max_retries=1)
    with working(broker):
        assert [echo.send(n).get_result(block=True, timeout=5000) for n in range(3)] == [0, 1, 2]
        failing.send()
        eventually(lambda: stats(broker).dead == 1)
    assert broker.retry_dead(EVERYTHING) == 1
    assert len(broker.peek(QUEUE)) == 1
    delayed = broker.enqueue(message("echo", 1), delay=60_000)
    assert broker.cancel(delayed.message_id)
    Client(broker, dead_process()).claim()
    assert broker.sweep(identity()) == 1
    broker.pause(QUEUE)
    broker.resume(QUEUE)
    broker.flush(QUEUE)
    broker.flush_all()


def test_a_user_limited_to_the_prefix_can_do_everything(server: OwnServer, admin: redis.Redis) -> None:
    admin.execute_command(
        "ACL", "SETUSER", "limited", "on", ">p@ss", "~shop:*", "resetchannels", "+@all", "-@dangerous", "-@admin"
    )
    url = f"redis://limited:p%40ss@127.0.0.1:{server.port}/0"
    with served(url, redis_key_prefix="shop") as broker:
        everything_works(broker)
        assert isinstance(broker, RedisBroker)
        assert [w for w in broker.server_warnings() if "not permitted to check the settings" in w]


def test_a_cluster_serves_a_prefix_with_a_hash_tag(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with own_server(tmp_path, *options) as server:
        with server.admin() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: "cluster_state:ok" in admin.execute_command("CLUSTER", "INFO"), within_s=20)
        with served(server.url, redis_key_prefix="{tasks}") as broker:
            everything_works(broker)


def test_a_cluster_is_followed_to_the_node_that_has_the_prefix(tmp_path: Path) -> None:
    with cluster(tmp_path) as (first, second):
        with first.admin() as admin:
            slot = int(admin.execute_command("CLUSTER", "KEYSLOT", "{tasks}:messages"))
        owner, other = (first, second) if slot < 8192 else (second, first)
        with served(other.url, redis_key_prefix="{tasks}") as broker:
            everything_works(broker)
            broker.enqueue(message())
            with owner.admin() as admin:
                assert admin.hlen("{tasks}:messages") == 1


@contextmanager
def cluster(directory: Path) -> Iterator[tuple[OwnServer, OwnServer]]:
    """Two nodes with half of the slots each."""
    for name in ("one", "two"):
        (directory / name).mkdir()
    ports = [str(free_port()), str(free_port())]
    options = [("--cluster-enabled", "yes", "--cluster-port", port) for port in ports]
    with own_server(directory / "one", *options[0]) as first, own_server(directory / "two", *options[1]) as second:
        for server, low, high in ((first, 0, 8191), (second, 8192, 16383)):
            with server.admin() as admin:
                admin.execute_command("CLUSTER", "ADDSLOTSRANGE", low, high)
        with first.admin() as admin:
            admin.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, ports[1])
        for server in (first, second):
            with server.admin() as admin:
                eventually(
                    lambda a=admin: "cluster_slots_ok:16384" in a.execute_command("CLUSTER", "INFO"), within_s=30
                )
                eventually(lambda a=admin: "cluster_state:ok" in a.execute_command("CLUSTER", "INFO"), within_s=30)
        yield first, second


def test_sentinels_lead_to_the_primary_also_after_a_failover(tmp_path: Path) -> None:
    for name in ("primary", "replica"):
        (tmp_path / name).mkdir()
    with own_server(tmp_path / "primary") as primary:
        follow = ("--replicaof", "127.0.0.1", str(primary.port))
        with own_server(tmp_path / "replica", *follow) as replica, sentinels(tmp_path, primary.port) as ports:
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            with served(f"redis+sentinel://{hosts}/shop/0") as broker:
                everything_works(broker)
                kept = broker.enqueue(message())
                client = Client(broker)
                with replica.admin() as admin:
                    eventually(lambda: admin.hexists("dramatiq:messages", kept.message_id))
                    eventually(lambda: admin.zcard("dramatiq:sessions"))
                primary.kill()
                with pytest.raises((BrokerUnreachable, EnqueueUnknown)):
                    broker.enqueue(message())
                sent = eventually(lambda: sent_now(broker), within_s=40)
                assert ids(client.claim())[:1] == [kept.message_id]
                assert broker.holds(sent)


def sent_now(broker: EngineBroker) -> str:
    try:
        return broker.enqueue(message()).message_id
    except (BrokerUnreachable, EnqueueUnknown):
        return ""


def test_sentinels_that_want_a_password_and_tls_are_asked_with_both(tmp_path: Path) -> None:
    (tmp_path / "primary").mkdir()
    tls_port, sentinel_port = free_port(), free_port()
    secured = certified(tmp_path, "DNS:localhost,IP:127.0.0.1")
    lines = [
        *(f"{name.removeprefix('--')} {value}" for name, value in zip(secured[::2], secured[1::2], strict=True)),
        f"port 0\ntls-port {sentinel_port}\nbind 127.0.0.1\ndir {tmp_path}\ntls-replication yes",
        "user default off\nuser shop on >s%cret ~* &* +@all",
        f"sentinel monitor shop 127.0.0.1 {tls_port} 1\nsentinel auth-pass shop hidden",
    ]
    file = tmp_path / "sentinel.conf"
    file.write_text("\n".join(lines) + "\n")
    password = ("--requirepass", "hidden", "--port", "0", "--tls-port", str(tls_port))
    with started("redis-server", *secured, *password, "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)), \
         started("redis-server", str(file), "--sentinel"):  # fmt: skip
        trusted = f"ssl_ca_certs={tmp_path / 'certificate.pem'}"
        url = f"rediss+sentinel://:hidden@127.0.0.1:{sentinel_port}/shop/0?{trusted}"
        known = f"{url}&sentinel_username=shop&sentinel_password=s%25cret"
        with unconnected(known) as broker:
            eventually(lambda: sent_now(broker))
        with served(known) as broker:
            everything_works(broker)
        for wrong in (url, known.replace("cret", "wr0ng"), known.replace(f"{trusted}&", "")):
            with unconnected(wrong) as broker, pytest.raises(BrokerError) as caught:
                broker.enqueue(message())
            assert "hidden" not in str(caught.value)
            assert "wr0ng" not in str(caught.value)


@contextmanager
def started(*command: str) -> Iterator[None]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def sentinels(directory: Path, port: int) -> Iterator[list[int]]:
    """Three sentinels that watch `shop` and agree with two voices."""
    ports, started = [free_port() for _ in range(3)], []
    for number in ports:
        place = directory / f"sentinel-{number}"
        place.mkdir()
        file = place / "sentinel.conf"
        file.write_text(
            f"port {number}\nbind 127.0.0.1\ndir {place}\nsentinel monitor shop 127.0.0.1 {port} 2\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 3000\n"
        )
        started.append(subprocess.Popen(["redis-server", str(file), "--sentinel"], stdout=subprocess.DEVNULL))
    try:
        for number in ports:
            with redis.Redis(port=number, protocol=2, decode_responses=True) as admin:
                eventually(lambda a=admin: knows_all(a), within_s=30)
        yield ports
    finally:
        for process in started:
            process.kill()
            process.wait(10)


def knows_all(sentinel: redis.Redis) -> bool:
    try:
        answer = sentinel.execute_command("SENTINEL", "MASTER", "shop")
    except redis.exceptions.ConnectionError:
        return False
    known = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
    return (int(known["num-other-sentinels"]), int(known["num-slaves"])) == (2, 1)


def test_a_unix_socket_is_a_url(server: OwnServer) -> None:
    with served(f"unix://{server.socket}?db=3") as broker:
        everything_works(broker)


def certified(directory: Path, names: str = "DNS:localhost") -> tuple[str, ...]:
    """Options of a server with a certificate of its own for these names."""
    key, certificate = str(directory / "key.pem"), str(directory / "certificate.pem")
    subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName={names}"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    return (*files, "--tls-auth-clients", "no")


def test_tls_is_verified_and_then_serves_everything(tmp_path: Path) -> None:
    port = free_port()
    with own_server(tmp_path, "--tls-port", str(port), *certified(tmp_path)):
        trusted = f"?ssl_ca_certs={tmp_path / 'certificate.pem'}"
        for url in (f"rediss://localhost:{port}/0", f"rediss://127.0.0.1:{port}/0{trusted}"):
            with unconnected(url) as untrusted, pytest.raises(BrokerUnreachable, match=r"(?i)certificate"):
                untrusted.enqueue(message())
        with served(f"rediss://localhost:{port}/0{trusted}") as broker:
            everything_works(broker)


def test_a_wrong_password_is_an_error_that_does_not_show_it(server: OwnServer, admin: redis.Redis) -> None:
    admin.config_set("requirepass", "secret")
    wrong = f"redis://:wr0ng@127.0.0.1:{server.port}/0"
    with unconnected(wrong) as broker, pytest.raises(BrokerError) as caught:
        broker.enqueue(message())
    assert "wr0ng" not in str(caught.value)
    assert not isinstance(caught.value, BrokerUnreachable)


def test_making_a_broker_connects_to_nothing_and_sending_says_who_does_not_answer() -> None:
    port = free_port()
    with (
        unconnected(f"redis://:hidden@127.0.0.1:{port}/0") as broker,
        pytest.raises(BrokerUnreachable, match=str(port)) as caught,
    ):
        broker.enqueue(message())
    assert "hidden" not in str(caught.value)


def test_results_elsewhere_are_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match="beside its messages"),
        unconnected("redis://localhost/0", result_backend="database://default"),
    ):
        pass


def test_warnings_name_what_puts_tasks_at_risk(broker: EngineBroker, admin: redis.Redis) -> None:
    assert isinstance(broker, RedisBroker)
    assert broker.server_warnings() == ["this Redis does not persist: a restart loses every task; set appendonly yes"]
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("appendonly", "yes")
    assert broker.server_warnings() == [
        "maxmemory-policy is 'allkeys-lru': Redis may delete tasks when memory is short; set noeviction"
    ]


def test_another_project_below_the_same_prefix_is_refused(broker: EngineBroker, server: OwnServer) -> None:
    broker.enqueue(message())
    with override_settings(ROOT_URLCONF="shop.urls"), unconnected(server.url) as other:
        with pytest.raises(ConfigurationError, match=r"belong to the project 'tests', and this is 'shop'.*DEL") as said:
            other.enqueue(message())
        assert "redis_key_prefix" in str(said.value)
        with pytest.raises(ConfigurationError):
            other.refuse_to_start()
    assert stats(broker).pending == 1
    with override_settings(ROOT_URLCONF="shop.urls"), unconnected(server.url, redis_key_prefix="shop") as other:
        other.enqueue(message())


@pytest.mark.parametrize(("policy", "debug"), [("allkeys-lru", True), ("noeviction", False), ("volatile-ttl", False)])
def test_workers_start_where_no_task_can_be_evicted(
    broker: EngineBroker, admin: redis.Redis, policy: str, debug: bool
) -> None:
    admin.config_set("maxmemory-policy", policy)
    with override_settings(DEBUG=debug):
        broker.refuse_to_start()


def test_workers_do_not_start_in_production_on_a_server_that_evicts_tasks(
    broker: EngineBroker, admin: redis.Redis
) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigurationError, match=r"'allkeys-lru', which deletes tasks.*maxmemory-policy noeviction"):
        broker.refuse_to_start()


def test_workers_wait_for_a_server_that_is_not_there_yet() -> None:
    with unconnected(f"redis://127.0.0.1:{free_port()}/0") as broker:
        broker.refuse_to_start()


# -- transactions ---------------------------------------------------------------------------------------------


def test_a_message_is_sent_after_the_commit_and_never_after_a_rollback(broker: EngineBroker) -> None:
    with transaction.atomic():
        broker.enqueue(message("kept"))
        assert stats(broker).pending == 0
    with pytest.raises(Failing), transaction.atomic():
        broker.enqueue(message("dropped"))
        raise Failing("rolled back")
    assert [m.actor_name for m in broker.peek(QUEUE)] == ["kept"]


# -- failures -------------------------------------------------------------------------------------------------


def test_a_server_that_forgot_the_scripts_gets_them_again(broker: EngineBroker, admin: redis.Redis) -> None:
    broker.enqueue(message())
    client = Client(broker)
    admin.script_flush()
    (claim,) = client.claim()
    admin.script_flush()
    client.exchange(done(claim))
    assert stats(broker).pending + stats(broker).running == 0


def test_a_lost_answer_to_enqueue_is_repeated_and_stores_one_message(server: OwnServer) -> None:
    with losing_proxy(server.port) as proxy, served(proxy.url) as broker:
        broker.enqueue(message())
        for _ in range(5):
            proxy.lose_answer_to(ENQUEUE_ONE.sha)
            broker.enqueue(message())
        assert proxy.lost == 5
        assert len(Client(broker).claim(count=50)) == 6


def test_a_repetition_that_comes_after_the_task_has_run_stores_nothing(server: OwnServer) -> None:
    """By its id alone such a repetition would be a new life of a finished message."""
    with losing_proxy(server.port) as proxy, served(server.url) as broker, unconnected(proxy.url) as through:
        runs: list[int] = []
        declare(runs.append, actor_name="note")
        through.enqueue(message("note", 0))
        with working(broker):
            for n in range(1, 20):
                proxy.lose_answer_to(ENQUEUE_ONE.sha)
                through.enqueue(message("note", n))
            eventually(lambda: len(runs) >= 20)
            eventually(lambda: stats(broker).pending + stats(broker).running == 0)
        assert sorted(runs) == list(range(20))


def test_enqueue_that_is_never_answered_says_that_nobody_knows(server: OwnServer) -> None:
    with losing_proxy(server.port) as proxy, served(proxy.url) as broker:
        broker.enqueue(message())
        proxy.lose_answer_to(ENQUEUE_ONE.sha, times=3)
        with pytest.raises(EnqueueUnknown, match="same message_id is safe"):
            broker.enqueue(message())


def test_a_lost_answer_to_an_exchange_loses_repeats_and_strands_nothing(server: OwnServer) -> None:
    with losing_proxy(server.port) as proxy, served(proxy.url) as broker:
        runs: list[int] = []
        actor = declare(runs.append, actor_name="note")
        with settled_events() as seen, working(broker, threads=2):
            for n in range(40):
                if n % 5 == 0:
                    proxy.lose_answer_to(EXCHANGE.sha)
                actor.send(n)
                eventually(lambda n=n: len(seen) > n)
        assert (sorted(runs), len(seen)) == (list(range(40)), 40)
        assert proxy.lost >= 5
        assert stats(broker).running == 0


def test_a_server_that_stood_still_for_longer_than_a_lease_expires_nothing(server: OwnServer) -> None:
    with served(server.url, lease_ms=5000) as broker:
        broker.enqueue(message())
        broker.sweep(identity())
        client = Client(broker, replace(identity(), host_id="another host"))
        (claim,) = client.claim()
        server.send(signal.SIGSTOP)
        time.sleep(16)  # longer than the lease and than the longest gap between two sweeps
        server.send(signal.SIGCONT)
        assert broker.sweep(identity()) == 0
        assert client.exchange(done(claim)).refused == frozenset()


def test_a_lease_that_ends_gives_the_claims_to_others(server: OwnServer) -> None:
    with served(server.url, lease_ms=300) as broker:
        broker.sweep(identity())
        broker.enqueue(message())
        client = Client(broker, replace(identity(), host_id="another host"))
        (old,) = client.claim()
        assert eventually(lambda: broker.sweep(identity())) == 1
        (new,) = Client(broker).claim()
        assert (new.message_id, new.deliveries) == (old.message_id, 1)


def test_a_full_server_refuses_producers_and_lets_workers_finish(broker: EngineBroker, admin: redis.Redis) -> None:
    broker.enqueue_many([message("work", "x" * 50_000) for _ in range(20)])
    client = Client(broker)
    claims = client.claim(count=20)
    admin.config_set("maxmemory", "1mb")
    with pytest.raises(BrokerUnreachable, match="maxmemory"):
        broker.enqueue(message())
    assert client.exchange(*map(done, claims), count=0).refused == frozenset()
    admin.config_set("maxmemory", "0")
    broker.enqueue(message())
    assert len(client.claim()) == 1


def test_retries_survive_a_killed_server_that_writes_every_command(tmp_path: Path) -> None:
    with own_server(tmp_path, *ALWAYS) as server, served(server.url) as broker:
        runs: list[int] = []

        def fails(n: int, seen: list[int] = runs) -> None:
            seen.append(n)
            time.sleep(0.02)
            raise Failing("always")

        actor = declare(fails)
        with working(broker):
            sent = broker.enqueue_many([actor.message(n) for n in range(40)])
            eventually(lambda: len(runs) > 20)
            server.kill()
            time.sleep(1)
            server.start()
            eventually(lambda: stats(broker).dead == 40, within_s=30)
        assert sorted(ids(broker.dead_letters(EVERYTHING))) == sorted(ids(sent))
        assert sorted(runs) == sorted(list(range(40)) * 3)


def test_a_waiting_worker_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with own_server(tmp_path, *ALWAYS) as server, served(server.url) as broker:
        echo = declare(lambda n: n, actor_name="echo")
        with working(broker):
            assert echo.send(1).get_result(block=True, timeout=5000) == 1
            server.kill()
            server.start()
            assert echo.send(2).get_result(block=True, timeout=10_000) == 2


def test_workers_of_a_server_that_lost_its_data_share_no_session(broker: EngineBroker, admin: redis.Redis) -> None:
    """One of them notices first; the number that it gets must not be the one that another still goes by."""
    late, early = Client(broker), Client(broker)
    late.exchange(count=0)
    admin.flushall()
    with pytest.raises(SessionLost):
        early.claim()
    early = Client(broker)
    broker.enqueue(message())
    (claim,) = early.claim()
    with pytest.raises(SessionLost):
        late.exchange(count=0)
    early.exchange(retry(claim), count=0)
    assert (stats(broker).running, stats(broker).pending) == (0, 1)


# -- waking ---------------------------------------------------------------------------------------------------


def test_one_enqueue_leaves_one_token_and_a_paused_queue_none(broker: EngineBroker, admin: redis.Redis) -> None:
    broker.enqueue_many([message() for _ in range(5)])
    broker.enqueue(message())
    assert admin.llen("dramatiq:wake:default") == 1
    client = Client(broker)
    client.claim(count=50)
    assert admin.llen("dramatiq:wake:default") == 0
    broker.pause(QUEUE)
    broker.enqueue(message())
    assert admin.llen("dramatiq:wake:default") == 0
    broker.resume(QUEUE)
    assert admin.llen("dramatiq:wake:default") == 1


def test_an_idle_worker_asks_for_nothing_while_nothing_happens(broker: EngineBroker, admin: redis.Redis) -> None:
    with working(broker):
        time.sleep(1)
        before = admin.info("stats")["total_commands_processed"]
        time.sleep(2)
        assert admin.info("stats")["total_commands_processed"] - before < 120  # scripts' own calls count too


def test_what_is_due_in_a_moment_runs_on_time_behind_much_that_is_due_later(broker: EngineBroker) -> None:
    started: list[float] = []
    later, soon = (
        declare(lambda: None, actor_name="later"),
        declare(lambda: started.append(time.monotonic()), actor_name="soon"),
    )
    with working(broker):
        broker.enqueue_many([later.message() for _ in range(5000)], delay=3_600_000)
        sent_at = time.monotonic()
        broker.enqueue_many([soon.message() for _ in range(50)], delay=700)
        eventually(lambda: len(started) == 50)
    assert 0.7 <= min(started) - sent_at <= max(started) - sent_at < 2


def test_claims_of_a_batch_come_in_the_order_of_their_acceptance(broker: EngineBroker) -> None:
    sent = broker.enqueue_many([message("work", n) for n in range(3000)])
    client, claimed = Client(broker), []
    while claims := client.claim(count=128):
        claimed += ids(claims)
        client.exchange(*map(done, claims), count=0)
    assert claimed == [m.message_id for m in sent]
