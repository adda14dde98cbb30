"""From the dotted paths of a middleware list to the middleware that runs. Order as listed."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.utils.module_loading import import_string
from dramatiq.middleware import Callbacks, CurrentMessage, Middleware, Retries
from dramatiq.results import Results

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.brokers.results import EngineResults
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.middleware import sentry
from django_cfg.tasks.middleware.age_limit import EngineAgeLimit
from django_cfg.tasks.middleware.connections import Connections
from django_cfg.tasks.middleware.event_loop import EventLoop
from django_cfg.tasks.middleware.groups import EngineGroupCallbacks
from django_cfg.tasks.middleware.interrupts import EngineShutdownNotifications, EngineTimeLimit
from django_cfg.tasks.middleware.metrics import Metrics
from django_cfg.tasks.middleware.pipelines import EnginePipelines
from django_cfg.tasks.middleware.record import Record
from django_cfg.tasks.middleware.tracing import Tracing
from django_cfg.tasks.records.policy import policy_of
from django_cfg.units import days_to_ms

logger = logging.getLogger(__name__)
Factory = Callable[[TaskSettings], Middleware]

STOCK = "dramatiq.middleware."
GLUE = "django_dramatiq.middleware."
GROUPS = STOCK + "GroupCallbacks"

TRACING = "django_cfg.tasks.middleware.tracing.Tracing"
SENTRY = "django_cfg.tasks.middleware.sentry.SentryTags"

FACTORIES: dict[str, Factory] = {
    TRACING: lambda s: Tracing(),
    SENTRY: lambda s: sentry.SentryTags(),
    STOCK + "AgeLimit": lambda s: EngineAgeLimit(max_age=s.max_age),
    STOCK + "TimeLimit": lambda s: EngineTimeLimit(time_limit=s.time_limit),
    STOCK + "ShutdownNotifications": lambda s: EngineShutdownNotifications(),
    STOCK + "Callbacks": lambda s: Callbacks(),
    STOCK + "Pipelines": lambda s: EnginePipelines(),
    STOCK + "CurrentMessage": lambda s: CurrentMessage(),
    GROUPS: lambda s: EngineGroupCallbacks(days_to_ms(s.result_ttl_days)),
    STOCK + "Retries": lambda s: Retries(
        max_retries=s.max_retries, min_backoff=s.min_backoff, max_backoff=s.max_backoff
    ),
    STOCK + "AsyncIO": lambda s: EventLoop(),
    STOCK + "prometheus.Prometheus": lambda s: Metrics(),
    GLUE + "AdminMiddleware": lambda s: Record(policy_of(s), s.records_database),
    GLUE + "DbConnectionsMiddleware": lambda s: Connections(s.worker_conn_max_age),
}
#: Names that people write and that mean something else; each is said aloud.
MEANT = {
    STOCK + "Shutdown": STOCK + "ShutdownNotifications",
    STOCK + "Prometheus": STOCK + "prometheus.Prometheus",
    STOCK + "group_callbacks.GroupCallbacks": GROUPS,
    STOCK + "asyncio.AsyncIO": STOCK + "AsyncIO",
}
#: Without these an engine is not correct; a list that lacks one gets it, in this order behind the rest.
NEEDED = (
    STOCK + "ShutdownNotifications",
    STOCK + "Pipelines",
    STOCK + "Retries",
    STOCK + "CurrentMessage",
    GLUE + "AdminMiddleware",
)


def missing_from(paths: Iterable[str]) -> list[str]:
    """What a correct engine needs and the list lacks."""
    listed = {MEANT.get(path, path) for path in paths}
    return [path for path in NEEDED if path not in listed]


def build(settings: TaskSettings) -> tuple[list[Middleware], EngineResults]:
    """The middleware of a broker, connections first, and the result backend that its `Results` uses."""
    paths = [_meant(path) for path in settings.middleware]
    paths += missing_from(paths)
    if settings.prometheus_enabled and STOCK + "prometheus.Prometheus" not in paths:
        paths.append(STOCK + "prometheus.Prometheus")
    if GROUPS not in paths:
        paths.append(GROUPS)
    connections = GLUE + "DbConnectionsMiddleware"
    paths = [*observers(settings), *paths]  # around everything else, so that they see all of a task
    paths = [connections, *(path for path in paths if path != connections)]
    backend = EngineResults()
    results = Results(backend=backend, store_results=True, result_ttl=days_to_ms(settings.result_ttl_days))
    return [*(_make(path, settings) for path in dict.fromkeys(paths)), results], backend


def observers(settings: TaskSettings) -> list[str]:
    """What watches tasks for systems outside, where the project has them."""
    found = [TRACING] if settings.otel_enabled else []
    return [*found, SENTRY] if sentry.is_used() else found


def _meant(path: str) -> str:
    meant = MEANT.get(path)
    if meant is None:
        return path
    logger.warning("Middleware %s is taken as %s; write that.", path, meant)
    return meant


def _make(path: str, settings: TaskSettings) -> Middleware:
    factory = FACTORIES.get(path)
    return factory(settings) if factory is not None else _foreign(path)


def _foreign(path: str) -> Middleware:
    try:
        made: Any = import_string(path)
    except ImportError as error:
        close = difflib.get_close_matches(path, FACTORIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"middleware {path!r} cannot be imported: {error}.{hint}") from error
    middleware = made() if isinstance(made, type) else made
    if not isinstance(middleware, Middleware):
        raise ConfigurationError(f"{path!r} is not a Dramatiq middleware but {middleware!r}")
    return middleware
