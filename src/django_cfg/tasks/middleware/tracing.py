"""OpenTelemetry spans of tasks: one where a task is sent, one for each attempt, in one trace.

The context travels in the message, in whatever form the project's propagators write (`traceparent` by default).
"""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Message
from dramatiq.middleware import Middleware

from django_cfg.errors import ConfigurationError

CARRIER = "otel"


class Tracing(Middleware):
    """Spans by the tracer provider that the project has set up. Needs the extra `otel`."""

    def __init__(self) -> None:
        try:
            from opentelemetry import context, propagate, trace
        except ImportError as error:
            raise ConfigurationError(
                "otel_enabled=True needs opentelemetry-api: python -m pip install 'django-cfg-tasks[otel]'"
            ) from error
        self._context: Any = context
        self._propagate: Any = propagate
        self._trace: Any = trace
        self._open: dict[str, tuple[Any, Any]] = {}

    def _tracer(self) -> Any:
        # Asked each time: a project may set its provider up after the broker was made.
        return self._trace.get_tracer("django_cfg.tasks")

    def before_enqueue(self, broker: Any, message: Message[Any], delay: Any) -> None:
        """A retry stays in the trace of its first send."""
        collector = broker.collecting()
        if collector is not None and collector.claim.message_id == message.message_id:
            return
        kind = self._trace.SpanKind.PRODUCER
        with self._tracer().start_as_current_span(
            f"send {message.actor_name}", kind=kind, attributes=_attributes(message, "send")
        ):
            carrier: dict[str, str] = {}
            self._propagate.inject(carrier)
        if carrier:
            message.options[CARRIER] = carrier

    def before_process_message(self, broker: Broker, message: Any) -> None:
        parent = self._propagate.extract(_carrier(message))
        span = self._tracer().start_span(
            f"run {message.actor_name}",
            context=parent,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes(message, "process"),
        )
        token = self._context.attach(self._trace.set_span_in_context(span, parent))
        self._open[message.message_id] = (span, token)

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        self._end(message, exception)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self._end(message, None)

    def _end(self, message: Any, exception: BaseException | None) -> None:
        span, token = self._open.pop(message.message_id, (None, None))
        if span is None:
            return
        if exception is not None:
            # The kind alone: an exception's text may quote arguments.
            span.set_attribute("error.type", type(exception).__name__)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, type(exception).__name__))
        span.end()
        self._context.detach(token)


def _attributes(message: Any, operation: str) -> dict[str, Any]:
    """By the conventions for messaging; never an argument."""
    return {
        "messaging.system": "dramatiq",
        "messaging.operation.type": operation,
        "messaging.destination.name": message.queue_name,
        "messaging.message.id": message.message_id,
        "dramatiq.task": message.actor_name,
        "dramatiq.retries": int(message.options.get("retries", 0)),
    }


def _carrier(message: Any) -> dict[str, str]:
    """What travelled with the message. A message may come from anybody, so only texts count."""
    found = message.options.get(CARRIER)
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, str)}
