"""Faults of a Redis server under a working broker: what each may cost."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dramatiq import Message

from django_cfg.errors import BrokerUnreachable, EnqueueUnknown
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.testing.contracts import declare, message, stats, unlogged, working
from django_cfg.testing.waiting import eventually
from tests.contract.conftest import serving
from tests.contract.redis_server import OwnServer, own_server

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
served = contextmanager(serving)
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnServer]:
    with own_server(tmp_path, *ALWAYS) as started:
        yield started


def nothing_left(broker: EngineBroker) -> bool:
    found = stats(broker)
    return found.pending + found.running + found.scheduled + found.retrying == 0


def test_delayed_tasks_run_on_time_after_a_restart_of_the_server(server: OwnServer) -> None:
    runs: Counter[int] = Counter()
    with served(server.url) as broker, unlogged():
        note = declare(lambda n: runs.update([n]), actor_name="note")
        with working(broker):
            for n in range(50):
                note.send_with_options(args=(n,), delay=1500)
            server.kill()
            server.start()
            eventually(lambda: len(runs) == 50, within_s=20)
            eventually(lambda: nothing_left(broker))
    assert runs == Counter(range(50))


def test_a_send_while_the_server_stands_still_is_stored_once_or_says_so(server: OwnServer) -> None:
    """A client that repeats by itself would store it as often as it asked."""
    told: list[str] = []
    sent: list[Message[None]] = []

    def send(broker: EngineBroker, n: int) -> None:
        one: Message[None] = message("work", n)
        sent.append(one)
        try:
            broker.enqueue(one)
            told.append("stored")
        except (EnqueueUnknown, BrokerUnreachable) as error:
            told.append(type(error).__name__)

    with served(f"{server.url}?socket_timeout=0.3") as broker:
        broker.enqueue(message("before"))
        server.send(signal.SIGSTOP)
        threads = [threading.Thread(target=send, args=(broker, n)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        server.send(signal.SIGCONT)
        eventually(lambda: stats(broker).pending >= 1)
        for one in sent:
            broker.enqueue(one)  # what EnqueueUnknown promises: again under the same id is safe
        assert (len(told), stats(broker).pending) == (6, 7)


def test_connections_that_are_cut_again_and_again_lose_and_repeat_nothing(server: OwnServer) -> None:
    runs: Counter[int] = Counter()
    unknown: set[int] = set()
    is_over = threading.Event()

    def cut() -> None:
        with server.admin() as admin:
            while not is_over.wait(0.05):
                admin.client_kill_filter(_type="normal", skipme=True)

    with served(server.url) as broker, unlogged():
        note = declare(lambda n: runs.update([n]), actor_name="note")
        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            with working(broker):
                for n in range(300):
                    try:
                        note.send(n)
                    except (EnqueueUnknown, BrokerUnreachable):
                        unknown.add(n)
                eventually(lambda: len(runs) >= 300 - len(unknown), within_s=40)
        finally:
            is_over.set()
            cutter.join()
        eventually(lambda: nothing_left(broker))
    assert len(unknown) < 100
    assert set(range(300)) - unknown <= set(runs)
    assert set(runs.values()) == {1}


def test_processes_that_were_forked_from_one_with_a_connection_do_not_disturb_each_other(server: OwnServer) -> None:
    with served(server.url) as broker:
        broker.enqueue(message("before"))
        children = [fork_and_send(broker, 100) for _ in range(2)]
        for _ in range(100):
            broker.enqueue(message("parent"))
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
        assert stats(broker).pending == 301


def fork_and_send(broker: EngineBroker, count: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for _ in range(count):
            broker.enqueue(message("child"))
        code = 0
    finally:
        os._exit(code)
