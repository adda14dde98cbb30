"""Finds and imports task modules: `<app>.tasks` of every app, whole packages of them, or dotted paths."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

import dramatiq
from django.apps import apps
from django.db import connections
from django.utils.module_loading import import_string

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.backends import registry
from django_cfg.tasks.conf import TaskSettings


def discover(settings: TaskSettings) -> list[str]:
    """Import every task module and return their names.

    `task_modules` are names inside each app (`tasks`) or full paths (`project.jobs`). Errors inside a task
    module are raised as they are: a worker that lacks tasks must not start.

    Raises:
        ConfigurationError: a full path in `task_modules` that does not exist.
    """
    found = [name for path in settings.task_modules if "." in path for name in _full(path)]
    if settings.auto_discover_tasks:
        relative = [path for path in settings.task_modules if "." not in path]
        found += [name for app in apps.get_app_configs() for name in _of_app(app.name, relative)]
    for name in found:
        importlib.import_module(name)
    _declare_django_tasks(found)
    return found


def preload() -> None:
    """Have Django do now what it does at the first query, so that forked processes share the memory that it takes."""
    for connection in connections.all():
        importlib.import_module(connection.ops.compiler_module)
    for model in apps.get_models():
        _ = model._meta.related_objects, model._meta.fields_map, model._meta.concrete_fields


def _declare_django_tasks(modules: list[str]) -> None:
    """Tasks of Django's framework become known to the broker, with what they were declared with."""
    registry.collect(modules)
    if registry.tasks():
        # By name: without Django tasks nobody needs their framework.
        declare_all: Any = import_string("django_cfg.tasks.backends.actor.declare_all")
        declare_all(dramatiq.get_broker())


def _full(path: str) -> Iterator[str]:
    try:
        found = importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise ConfigurationError(f"task_modules names {path!r}, which is not a module of this project")
    yield from _with_submodules(path)


def _of_app(app: str, modules: Iterable[str]) -> Iterator[str]:
    for module in modules:
        path = f"{app}.{module}"
        if app != "django_cfg.tasks" and importlib.util.find_spec(path) is not None:
            yield from _with_submodules(path)


def _with_submodules(path: str) -> Iterator[str]:
    yield path
    package = importlib.import_module(path)
    for info in pkgutil.walk_packages(getattr(package, "__path__", []), path + "."):
        yield info.name
