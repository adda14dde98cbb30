"""The middleware list: order as listed, needed ones added, other names understood or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dramatiq.middleware import Middleware, Retries

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.brokers import stack
from django_cfg.tasks.conf import DEFAULT_MIDDLEWARE, TaskSettings
from django_cfg.tasks.middleware.connections import Connections
from django_cfg.tasks.middleware.interrupts import EngineShutdownNotifications, EngineTimeLimit

NOT_MIDDLEWARE = "not one"


def names(*paths: str) -> list[str]:
    built, _ = stack.build(replace(TaskSettings(), middleware=paths))
    return [type(m).__name__ for m in built]


def test_order_is_as_listed_with_connections_first_and_results_last() -> None:
    found = names(stack.STOCK + "Retries", stack.STOCK + "Callbacks", stack.GLUE + "DbConnectionsMiddleware")
    assert found[:3] == ["Connections", "Retries", "Callbacks"]
    assert found[-1] == "Results"


def test_what_a_correct_engine_needs_is_added_once() -> None:
    found = names()
    assert {
        "Connections",
        "EngineShutdownNotifications",
        "EnginePipelines",
        "Retries",
        "CurrentMessage",
        "Record",
    } < set(found)
    assert len(found) == len(set(found))
    assert stack.missing_from(stack.NEEDED) == []


def test_each_listed_middleware_stands_once() -> None:
    found = names(*DEFAULT_MIDDLEWARE, *DEFAULT_MIDDLEWARE)
    assert len(found) == len(set(found))


def test_options_reach_the_middleware() -> None:
    settings = TaskSettings(max_retries=9, min_backoff=11, max_backoff=12, time_limit=13, worker_conn_max_age=14)
    built = {type(m): m for m in stack.build(settings)[0]}
    retries, limit, connections = built[Retries], built[EngineTimeLimit], built[Connections]
    assert (retries.max_retries, retries.min_backoff, retries.max_backoff) == (9, 11, 12)  # type: ignore[attr-defined]
    assert (limit.time_limit, connections.max_age_s) == (13, 14)  # type: ignore[attr-defined]


def test_a_name_that_means_another_is_taken_as_that() -> None:
    built, _ = stack.build(replace(TaskSettings(), middleware=(stack.STOCK + "Shutdown",)))
    assert isinstance(built[1], EngineShutdownNotifications)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("dramatiq.middleware.Retrys", r"cannot be imported.*Did you mean 'dramatiq.middleware.Retries'"),
        ("no.such.Middleware", "cannot be imported"),
        ("nonsense", "cannot be imported"),
        (f"{__name__}.NOT_MIDDLEWARE", "is not a Dramatiq middleware but 'not one'"),
        ("collections.OrderedDict", "is not a Dramatiq middleware"),
    ],
)
def test_what_is_no_middleware_is_refused_by_name(path: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        names(path)


class Foreign(Middleware):
    """A middleware of a project."""


class Demanding(Foreign):
    def __init__(self, what: str) -> None:
        self.what = what


def test_foreign_middleware_stands_where_it_is_listed() -> None:
    assert names(stack.STOCK + "Callbacks", f"{__name__}.Foreign")[1:3] == ["Callbacks", "Foreign"]
    with pytest.raises(TypeError):
        names(f"{__name__}.Demanding")  # it needs an argument that a path cannot give


def test_group_callbacks_need_no_backend_however_they_are_listed() -> None:
    for path in ("dramatiq.middleware.GroupCallbacks", "dramatiq.middleware.group_callbacks.GroupCallbacks"):
        assert names(path).count("EngineGroupCallbacks") == 1
