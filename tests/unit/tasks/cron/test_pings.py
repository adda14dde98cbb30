"""A dead man's switch hears of every run that ended, once; nothing it does harms a schedule."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.cron import ping, store
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.models import Tick
from django_cfg.testing.contracts import Client, dead, done
from tests.unit.tasks.conftest import POSTGRES, serving
from tests.unit.tasks.cron.clock import Clock, entries, scheduler

pytestmark = pytest.mark.django_db(databases="__all__")


class Switch:
    """A server that notes what it is asked for, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status, self.location = 200, ""
        switch = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                switch.asked.append(self.path)
                self.send_response(switch.status)
                if switch.location:
                    self.send_header("Location", switch.location)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret"


@pytest.fixture
def switch() -> Iterator[Switch]:
    made = Switch()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(params=["database://default", POSTGRES])
def broker(request: pytest.FixtureRequest, db: None) -> Iterator[EngineBroker]:
    yield from serving(request.param)


def ticked(broker: EngineBroker, url: str) -> dict[str, Entry]:
    """One run of one schedule waits."""
    code = entries({"cron": "* * * * *", "ping_url": url})
    clock = Clock("2026-06-01T00:00:30Z")
    one = scheduler(broker, clock, code)
    clock.set("2026-06-01T00:01:00Z")
    one.turn()
    return code


def state(broker: EngineBroker) -> str:
    return Tick.objects.using(store.alias_of(broker)).get().ping


def test_a_success_is_told_once_and_not_before_the_end(broker: EngineBroker, switch: Switch) -> None:
    code = ticked(broker, switch.url)
    worker = Client(broker)
    ping.ping_ended(broker, code)
    [claim] = worker.claim()
    ping.ping_ended(broker, code)
    assert switch.asked == [] and state(broker) == "open"
    worker.exchange(done(claim))
    ping.ping_ended(broker, code)
    ping.ping_ended(broker, code)
    assert switch.asked == ["/secret"] and state(broker) == "done"


def test_a_dead_letter_is_told_as_a_failure(broker: EngineBroker, switch: Switch) -> None:
    code = ticked(broker, switch.url)
    worker = Client(broker)
    worker.exchange(dead(worker.claim()[0]))
    ping.ping_ended(broker, code)
    assert switch.asked == ["/secret/fail"]


def test_a_switch_that_is_broken_is_logged_without_its_url_and_harms_nothing(
    broker: EngineBroker, switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    code = ticked(broker, switch.url)
    worker = Client(broker)
    worker.exchange(done(worker.claim()[0]))
    switch.status = 500
    assert ping.ping_ended(broker, code) == ping.EVERY_S
    assert state(broker) == "failed"
    assert "The ping of schedule job failed: HTTPError: HTTP Error 500" in caplog.text and "secret" not in caplog.text


def test_a_redirect_to_where_others_can_read_is_not_followed(switch: Switch) -> None:
    switch.status, switch.location = 302, "http://pings.example/secret"
    assert "HTTPError" in ping.ask(switch.url)
    assert switch.asked == ["/secret"]


def test_nobody_there_is_an_answer_too() -> None:
    assert ping.ask("http://127.0.0.1:1/secret", timeout_s=1).startswith("URLError")


def test_a_schedule_without_a_url_opens_nothing(broker: EngineBroker) -> None:
    ticked(broker, "")
    assert state(broker) == ""
