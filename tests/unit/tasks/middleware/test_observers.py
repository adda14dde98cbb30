"""Spans from send to run in one trace, and Sentry events that name their task; off costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dramatiq
import pytest
import sentry_sdk
from dramatiq import Message
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.brokers import stack
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.middleware import sentry
from django_cfg.tasks.middleware.tracing import CARRIER, Tracing
from django_cfg.tasks.worker.inline import InlineWorker
from tests.unit.tasks.conftest import serving

RETRYING = 2


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


@pytest.fixture
def traced(spans: InMemorySpanExporter) -> Iterator[EngineBroker]:
    yield from serving("stub://", otel_enabled=True)


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def run(broker: EngineBroker) -> int:
    return InlineWorker(broker).run(sorted(broker.queues))


def test_a_run_belongs_to_the_trace_of_its_send(traced: EngineBroker, spans: InMemorySpanExporter) -> None:
    task = dramatiq.actor(lambda secret: None, actor_name="traced")
    message = task.send("hush-hush")
    run(traced)
    (sent,), (ran,) = named(spans, "send traced"), named(spans, "run traced")
    assert (sent.kind, ran.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert ran.parent is not None
    assert (ran.parent.span_id, ran.context.trace_id) == (sent.context.span_id, sent.context.trace_id)
    assert ran.attributes is not None
    assert ran.attributes["messaging.message.id"] == message.message_id
    assert ran.attributes["messaging.destination.name"] == "default"
    assert ran.attributes["dramatiq.task"] == "traced"
    assert "hush-hush" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_a_send_inside_a_task_goes_on_with_its_trace(traced: EngineBroker, spans: InMemorySpanExporter) -> None:
    child = dramatiq.actor(lambda: None, actor_name="child")
    parent = dramatiq.actor(lambda: child.send(), actor_name="parent")
    parent.send()
    run(traced)
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
    (ran,), (sent,) = named(spans, "run parent"), named(spans, "send child")
    assert sent.parent is not None
    assert sent.parent.span_id == ran.context.span_id


def test_each_attempt_is_a_span_of_the_same_trace_and_an_error_shows_its_kind_alone(
    traced: EngineBroker, spans: InMemorySpanExporter
) -> None:
    attempts: list[int] = []

    def fails() -> None:
        attempts.append(1)
        if len(attempts) < RETRYING:
            raise LookupError("hush-hush")

    dramatiq.actor(fails, actor_name="fails", min_backoff=0, max_backoff=0, max_retries=3).send()
    while len(attempts) < RETRYING:
        run(traced)
    first, second = named(spans, "run fails")
    assert len(named(spans, "send fails")) == 1
    assert first.context.trace_id == second.context.trace_id
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert first.attributes is not None
    assert first.attributes["error.type"] == "LookupError"
    assert "hush-hush" not in first.to_json()


@pytest.mark.parametrize("carrier", [1, "x", [1], {"traceparent": 7}, {"traceparent": "nonsense"}])
def test_a_carrier_of_a_stranger_starts_a_trace_of_its_own(
    traced: EngineBroker, spans: InMemorySpanExporter, carrier: Any
) -> None:
    message: Message[Any] = Message("default", "strange", (), {}, {CARRIER: carrier})
    tracing = Tracing()
    tracing.before_process_message(traced, message)
    tracing.after_process_message(traced, message)
    (ran,) = named(spans, "run strange")
    assert ran.parent is None


def test_nothing_is_traced_unless_it_is_asked_for(stub: EngineBroker) -> None:
    assert not any(isinstance(one, Tracing) for one in stub.middleware)
    message = dramatiq.actor(lambda: None, actor_name="plain").send()
    assert CARRIER not in message.options


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"django-cfg-tasks\[otel\]"):
        stack.build(replace(TaskSettings(), otel_enabled=True))


# -- sentry --------------------------------------------------------------------------------------------


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []

    def keep(event: Any, hint: Any) -> None:
        found.append(event)

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1", before_send=keep, default_integrations=False, auto_enabling_integrations=False
    )
    yield found
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def test_an_event_of_a_task_names_it_and_nothing_of_it_stays(
    events: list[dict[str, Any]], transactional_db: None
) -> None:
    for broker in serving("stub://"):

        def tells() -> None:
            sentry_sdk.set_tag("own", "yes")
            sentry_sdk.capture_message("inside")

        message = dramatiq.actor(tells, actor_name="tells").send()
        run(broker)
    sentry_sdk.capture_message("outside")
    inside, outside = events
    wanted = {"task": "tells", "queue": "default", "message_id": message.message_id, "attempt": 1, "own": "yes"}
    assert inside["tags"] == wanted
    assert inside["transaction"] == "tells"
    assert not outside.get("tags")


def test_without_sentry_nothing_of_it_is_in_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not sentry.is_used()  # imported, and not set up
    monkeypatch.delitem(sys.modules, "sentry_sdk")
    assert not sentry.is_used()
    assert stack.observers(TaskSettings()) == []
