"""Real workers on a RabbitMQ server of their own: what is lost, and what runs twice, when either dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pika import spec

from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.tasks.brokers.rabbitmq.topology import Names
from django_cfg.testing.waiting import eventually
from tests.contract.rabbitmq_server import OwnRabbit, own_rabbit
from tests.process.conftest import SCALE, Project

pytestmark = [pytest.mark.process, pytest.mark.rabbitmq, pytest.mark.servers]

#: Sends until told to stop; prints the id of each message that the broker has accepted.
SENDER = """
import itertools, os, sys, time
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from django_cfg.errors import DjangoCfgError
from work.tasks import quick
for number in itertools.count():
    try:
        print(quick.send().message_id, flush=True)
    except DjangoCfgError as error:
        print(type(error).__name__, file=sys.stderr, flush=True)
        time.sleep(0.05)
"""
DELIVERIES = """
from django_cfg.tasks.models import DeadLetter, Redelivery
for row in Redelivery.objects.all(): print(f"deaths={row.deaths}")
for row in DeadLetter.objects.all(): print("dead", row.reason.replace(" ", "_"))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRabbit]:
    with own_rabbit(tmp_path_factory.mktemp("rabbit")) as started:
        yield started


@pytest.fixture
def work(project: Project, server: OwnRabbit) -> Project:
    return project.write(url=server.url, rabbitmq_prefix=prefix_of(project), lease_ms=5_000, max_deliveries=2)


def prefix_of(project: Project) -> str:
    return project.path.name[-16:].replace("_", "-").strip("-.")


#: RabbitMQ 3.10 has the name of a new quorum queue on disk five seconds after it was made.
YOUNG_S = 6


def all_ended(project: Project, ids: list[str], within_s: float = 40) -> None:
    eventually(lambda: not set(ids) - set(project.ids("end")), within_s=within_s)


def extra(project: Project, ids: list[str]) -> int:
    """Starts beyond the first of each message."""
    starts = project.ids("start")
    return sum(starts[one] - 1 for one in ids)


def test_nothing_that_was_accepted_is_lost_when_the_server_is_killed(work: Project, server: OwnRabbit) -> None:
    sender = subprocess.Popen([sys.executable, "-c", SENDER], cwd=work.path, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    accepted: list[str] = []
    reading = threading.Thread(target=lambda: accepted.extend(map(str.strip, sender.stdout or ())), daemon=True)
    reading.start()
    try:
        eventually(lambda: accepted, within_s=30)
        made_at = time.monotonic()
        eventually(lambda: len(accepted) > 50 and time.monotonic() - made_at > YOUNG_S, within_s=30)
        server.kill()
        before = len(accepted)
        server.start()
        eventually(lambda: len(accepted) > before + 20, within_s=30)
    finally:
        sender.kill()
        sender.wait()
    reading.join(10)
    sender.stdout.close()
    workers = work.start()
    all_ended(work, accepted)
    assert workers.stop() == 0
    assert extra(work, accepted) == 0


def test_workers_go_on_after_the_server_was_stopped(work: Project, server: OwnRabbit) -> None:
    ids = work.send(*["short.send(30)"] * 60)
    workers = work.start("--processes", "2", "--threads", "2")
    eventually(lambda: len(work.ids("end")) > 10, within_s=30)
    server.stop()
    server.start()
    all_ended(work, ids)
    assert workers.stop() == 0
    assert extra(work, ids) <= 2 * 2 * 2  # what ran, and what had ended and was not yet acknowledged
    assert work.counts()["dead"] == 0


@pytest.mark.faults
def test_workers_and_senders_go_on_when_the_application_of_the_server_was_stopped(
    work: Project, server: OwnRabbit
) -> None:
    ids = work.send(*["short.send(30)"] * 60)
    workers = work.start("--processes", "2", "--threads", "2", until=lambda w: len(w.children()) == 2)
    pids = workers.children()
    for share in (10, 30):
        eventually(lambda share=share: len(work.ids("end")) > share, within_s=60)
        server.control("stop_app")
        server.control("start_app")
    ids += work.send(*["short.send(30)"] * 10)
    all_ended(work, ids, within_s=90)
    assert workers.children() == pids
    eventually(lambda: not work.counts(), within_s=30)
    assert workers.stop() == 0
    assert extra(work, ids) <= 2 * 2 * 2 * 2


def test_a_cut_connection_costs_at_most_what_ran(work: Project, server: OwnRabbit) -> None:
    ids = work.send(*["short.send(30)"] * 60)
    workers = work.start("--processes", "2", "--threads", "2")
    for share in (10, 25, 40):
        eventually(lambda share=share: len(work.ids("end")) > share, within_s=30)
        server.control("close_all_connections", "a test")
    all_ended(work, ids)
    assert workers.stop() == 0
    assert extra(work, ids) <= 3 * 2 * 2 * 2
    assert work.counts()["dead"] == 0


def test_a_killed_child_costs_at_most_what_it_ran(work: Project) -> None:
    ids = work.send(*["short.send(30)"] * 60)
    workers = work.start("--processes", "2", "--threads", "2")
    eventually(lambda: len(work.ids("end")) > 10, within_s=30)
    os.kill(work.pids("start")[-1], signal.SIGKILL)
    all_ended(work, ids)
    assert workers.stop() == 0
    assert extra(work, ids) <= 2 * 2


def test_a_task_that_keeps_killing_its_process_is_a_dead_letter(work: Project) -> None:
    killers, others = work.send("killer.send()"), work.send(*["quick.send()"] * 20)
    workers = work.start("--processes", "1", "--threads", "2")
    eventually(lambda: work.counts()["dead"] == 1, within_s=40)
    all_ended(work, others)
    assert workers.stop() == 0
    assert "its_worker_process_died_2_times_while_running_it" in work.run(DELIVERIES)
    assert work.ids("start")[killers[0]] == 2


def test_graceful_stops_count_for_nothing(work: Project) -> None:
    ids = work.send(*["short.send(150)"] * 24)
    for ended in (2, 4, 6):
        workers = work.start("--processes", "1", "--threads", "2")
        eventually(lambda ended=ended: len(work.ids("end")) >= ended, within_s=30)
        assert workers.stop() == 0
    assert set(work.run(DELIVERIES)) <= {"deaths=0"}
    workers = work.start()
    all_ended(work, ids)
    assert workers.stop() == 0
    assert set(work.ids("start").values()) == {1}


def test_long_delays_do_not_fill_a_worker(work: Project) -> None:
    count = 3_000 * SCALE
    workers = work.start("--processes", "1", "--threads", "2")
    work.send("quick.send()")
    eventually(lambda: len(work.ids("end")) == 1, within_s=30)
    child = work.pids("end")[0]
    before = memory_kb(child)
    work.run(f"dramatiq.get_broker().enqueue_many([quick.message() for _ in range({count})], delay=3_600_000)")
    work.run(f"dramatiq.get_broker().enqueue_many([quick.message() for _ in range({count})], delay=600_000)")
    work.send("quick.send()")
    eventually(lambda: len(work.ids("end")) == 2, within_s=30)
    assert memory_kb(child) - before < 10_000
    assert work.counts()["scheduled"] == count
    assert workers.stop() == 0


def memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_while_the_server_has_an_alarm_a_send_says_so_and_outcomes_are_kept(work: Project, server: OwnRabbit) -> None:
    ids = work.send(*["failing.send('x')"] * 5)
    server.control("set_vm_memory_high_watermark", "absolute", "1000")
    try:
        said = work.run(
            "from django_cfg.errors import BrokerUnreachable, EnqueueUnknown\n"
            "broker = dramatiq.get_broker()\n"
            "for _ in range(2):\n"
            "    try: quick.send()\n"
            "    except (BrokerUnreachable, EnqueueUnknown) as error: print('alarm' in str(error))"
        )
        assert said == ["True", "True"]
        workers = work.start()
        eventually(lambda: work.ids("start"), within_s=30)
    finally:
        server.control("set_vm_memory_high_watermark", "0.6")
    eventually(lambda: work.counts()["dead"] == 5, within_s=60)
    assert workers.stop() == 0
    starts = work.ids("start")
    assert {one: starts[one] for one in ids} == dict.fromkeys(ids, 3)


def test_a_queue_with_other_arguments_is_named_with_the_argument_and_the_cure(work: Project, server: OwnRabbit) -> None:
    names = Names(prefix_of(work))
    link = Link(address(server.url))
    link.connect()
    link.call(spec.Queue.Declare(queue=names.queue("mail"), durable=True), spec.Queue.DeclareOk)
    try:
        workers = work.start(until=lambda w: "406" in w.log)
        pids = workers.children()
        line = next(line for line in workers.log.splitlines() if "406" in line)
        assert re.search(rf"inequivalent arg '[\w-]+' for queue '{re.escape(names.queue('mail'))}'", line)
        assert "delete it when it is empty, or choose another rabbitmq_prefix" in line
    finally:
        link.call(spec.Queue.Delete(queue=names.queue("mail")), spec.Queue.DeleteOk)
        link.close()
    [sent] = work.send("mail.send()")
    all_ended(work, [sent])
    assert workers.children() == pids
    assert workers.stop() == 0


@pytest.fixture
def impatient(server: OwnRabbit) -> Iterator[OwnRabbit]:
    """A server that soon wants to know what became of a message."""

    def set_ms(timeout: int, tick: int) -> None:
        for name, value in (("consumer_timeout", timeout), ("channel_tick_interval", tick)):
            server.control("eval", f"application:set_env(rabbit, {name}, {value}).")

    set_ms(2_000, 500)
    yield server
    set_ms(1_800_000, 60_000)


def test_a_task_that_outlasts_the_server_s_patience_again_and_again_runs_once_and_is_named_with_the_cure(
    impatient: OwnRabbit, work: Project
) -> None:
    long, *others = ids = work.send("gated.send('gate')", *["quick.send()"] * 5)
    workers = work.start("--processes", "1", "--threads", "2")
    eventually(lambda: workers.log.count("set consumer_timeout in rabbitmq.conf above") >= 3, within_s=120)
    assert "came again while it runs here" in workers.log
    [after] = work.send("quick.send()")
    all_ended(work, [*others, after])
    work.open_gate()
    all_ended(work, ids)
    eventually(lambda: not work.counts(), within_s=30)
    assert workers.stop() == 0
    assert work.ids("start")[long] == 1
