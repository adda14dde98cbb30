"""What the probe port answers, and to whom it listens."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError
from prometheus_client import CollectorRegistry, generate_latest

from django_cfg.errors import BrokerUnreachable, ConfigurationError
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import QueueStats
from django_cfg.tasks.events import TaskSettled
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.metrics import Metrics
from django_cfg.tasks.worker import depths, pages
from django_cfg.tasks.worker.address import parse
from django_cfg.tasks.worker.depths import MOST_UNDECLARED, OTHERS, Depths, bounded
from django_cfg.tasks.worker.pages import Pages, serving

EVENT = TaskSettled(
    message_id="m", task="known", queue="default", kind=Kind.DONE, generation=1, fence=1, retries=0,
    enqueued_at_ms=0, wait_ms=2000, run_ms=500, reason="", error_type="", error="", traceback="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
        (":8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("0.0.0.0:0", "0.0.0.0", 0, "0.0.0.0:0"),
        ("localhost:65535", "localhost", 65535, "localhost:65535"),
        ("[::1]:9191", "::1", 9191, "[::1]:9191"),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int, shown: str) -> None:
    assert parse(text) == (host, port)
    assert str(parse(text)) == shown


@pytest.mark.parametrize("text", ["", "host", "host:", "host:99999", "::1:80", "a b:80", "host:80x", "http://h:80"])
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected host:port with a port of 0-65535, got"):
        parse(text)


def test_ten_thousand_queue_names_of_strangers_are_a_hundred_and_one_series() -> None:
    strange = [QueueStats(f"q{number}", pending=1, dead=2, oldest_pending_age_s=number) for number in range(10_000)]
    found = bounded([QueueStats("default"), *strange], frozenset({"default"}))
    assert len(found) == 1 + MOST_UNDECLARED + 1
    assert found[0].queue == "default"
    assert found[-1] == QueueStats(OTHERS, pending=9900, dead=19_800, oldest_pending_age_s=9999)


def test_a_database_of_records_that_is_away_is_not_called_the_broker(stub: EngineBroker, monkeypatch: Any) -> None:
    def away() -> Any:
        raise OperationalError("gone")

    for place, name in ((depths.roster, "workers"), (depths.records, "dropped")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda *args: away())
            registry = CollectorRegistry()
            registry.register(Depths(stub))
            text = generate_latest(registry).decode()
        assert "dramatiq_broker_up 1.0" in text and "dramatiq_queue_depth" in text
        assert ("dramatiq_workers{" in text, "dramatiq_records_dropped_total" in text) == (
            name != "workers",
            name != "dropped",
        )


def test_what_a_broker_cannot_count_has_no_series(stub: EngineBroker, monkeypatch: Any) -> None:
    strange = [QueueStats(f"q{n}", pending=1, running=None, retrying=None) for n in range(MOST_UNDECLARED + 2)]
    monkeypatch.setattr(stub, "queue_stats", lambda: strange)
    registry = CollectorRegistry()
    registry.register(Depths(stub))
    text = generate_latest(registry).decode()
    assert f'dramatiq_queue_depth{{queue_name="{OTHERS}"}} 2.0' in text
    assert 'dramatiq_queue_messages{queue_name="q0",state="scheduled"} 0.0' in text
    assert "dramatiq_queue_oldest_age_seconds{" not in text  # nor how long any of them waits
    assert 'state="running"' not in text and 'state="retrying"' not in text


def test_names_that_nobody_declared_share_one_label(stub: EngineBroker) -> None:
    import dramatiq
    import prometheus_client

    dramatiq.actor(lambda: None, actor_name="known")
    made: dict[str, Any] = {}
    metrics = Metrics()

    class Kept:
        """The client's classes, remembering what was made."""

        @staticmethod
        def Counter(name: str, *rest: Any, **more: Any) -> Any:
            return made.setdefault(name, prometheus_client.Counter(name, *rest, **more))

        @staticmethod
        def Histogram(name: str, *rest: Any, **more: Any) -> Any:
            return made.setdefault(name, prometheus_client.Histogram(name, *rest, **more))

    metrics._client = Kept
    settled, _ = metrics._counting(stub)
    settled(EVENT)
    for number in range(10_000):
        settled(replace(EVENT, task=f"evil{number}", queue=f"q{number}", kind=Kind.DEAD, started=False))
    samples = [sample for family in made["dramatiq_tasks"].collect() for sample in family.samples]
    totals = {tuple(sorted(s.labels.items())): s.value for s in samples if s.name.endswith("_total")}
    assert totals == {
        (("status", "completed"), ("task_name", "known")): 1,
        (("status", "dead_letter"), ("task_name", "(undeclared)")): 10_000,
    }
    (count,) = [
        s.value
        for f in made["dramatiq_task_duration_seconds"].collect()
        for s in f.samples
        if s.name.endswith("_count")
    ]
    assert count == 1


def test_a_broker_that_does_not_answer_is_a_metric_and_no_error(stub: EngineBroker, monkeypatch: Any) -> None:
    def away() -> Any:
        raise BrokerUnreachable("gone")

    registry = CollectorRegistry()
    registry.register(Depths(stub))
    text = generate_latest(registry).decode()
    assert "dramatiq_broker_up 1.0" in text and "dramatiq_records_dropped_total 0.0" in text
    monkeypatch.setattr(stub, "queue_stats", away)
    registry = CollectorRegistry()
    registry.register(Depths(stub))
    text = generate_latest(registry).decode()
    assert "dramatiq_broker_up 0.0" in text
    assert "dramatiq_queue_depth" not in text


@pytest.fixture
def port(stub: EngineBroker) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    with serving(listener, Pages(stub, with_metrics=False)):
        yield listener.getsockname()[1]
    listener.close()


def get(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        found = b""
        while piece := client.recv(4096):
            found += piece
    return found


def test_readiness_needs_a_worker_and_liveness_does_not(port: int) -> None:
    assert get(port, "/livez").startswith(b"HTTP/1.0 200")
    assert get(port, "/readyz").startswith(b"HTTP/1.0 503")
    assert get(port, "/readyz").endswith(b"not ready\n")


def test_an_answer_names_no_host_version_or_path(port: int) -> None:
    found = get(port, "/readyz").decode()
    assert "Python" not in found
    assert socket.gethostname() not in found


def test_a_client_that_drips_bytes_is_cut_off_and_others_are_answered(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "DEADLINE_S", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as drip:
        drip.sendall(b"G")
        assert get(port, "/livez").startswith(b"HTTP/1.0 200")
        began = time.monotonic()
        assert drip.recv(10) == b""
        assert time.monotonic() - began < 9


def test_connections_above_the_limit_are_closed_at_once(port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(pages.MOST_CONNECTIONS)]
    try:
        held[0].sendall(b"G")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as late:
            assert late.recv(10) == b""
    finally:
        for one in held:
            one.close()
