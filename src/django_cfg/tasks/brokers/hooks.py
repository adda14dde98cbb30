"""Which hooks of the middleware are called: only those that have something to do. An empty one costs more than most
tasks do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dramatiq.middleware import Callbacks, Middleware, Retries
from dramatiq.results import Results

from django_cfg.tasks.brokers.collector import PIPELINE_STEP
from django_cfg.tasks.middleware.age_limit import EngineAgeLimit
from django_cfg.tasks.middleware.groups import EngineGroupCallbacks
from django_cfg.tasks.middleware.interrupts import EngineShutdownNotifications
from django_cfg.tasks.middleware.pipelines import EnginePipelines
from django_cfg.tasks.middleware.record import Record

BEFORE, AFTER = "before_process_message", "after_process_message"


class Hook(NamedTuple):
    """One hook and the name of its middleware's class."""

    middleware: Middleware
    name: str
    call: Callable[..., Any]


def _always(middleware: Any) -> bool:
    return True


#: Whose hooks do nothing around a task that ends well and returns nothing, as long as neither the task nor its message
#: names this option and the middleware itself is set up like that. These very classes: one that inherits may do more.
QUIET: dict[type[Middleware], tuple[str, Callable[[Any], bool]]] = {
    EngineAgeLimit: ("max_age", lambda middleware: middleware.max_age is None),
    EngineShutdownNotifications: ("notify_shutdown", lambda middleware: not middleware.notify_shutdown),
    EnginePipelines: ("pipe_target", _always),
    EngineGroupCallbacks: ("group_completion_callbacks", _always),
    Callbacks: ("on_success", _always),
    Retries: ("", _always),
    Results: (PIPELINE_STEP, _always),
    Record: ("", lambda middleware: not middleware.notes_every_task),
}
HEEDED = frozenset(option for option, _ in QUIET.values())


class Hooks:
    """The hooks of a list of middleware, each list in the order of its calls."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._middleware = middleware
        self._found: dict[str, list[Hook]] = {}
        self._plain: dict[str, list[Hook]] = {}

    def of(self, name: str) -> list[Hook]:
        """Those that really have this hook."""
        found = self._found.get(name)
        if found is None:
            stock = getattr(Middleware, name, None)
            found = [
                Hook(m, type(m).__name__, getattr(m, name))
                for m in self._middleware
                if getattr(type(m), name, None) is not stock
            ]
            if name.startswith("after_"):
                found.reverse()
            self._found[name] = found
        return found

    def around_task(self, name: str, of_message: Mapping[str, Any], of_task: Mapping[str, Any]) -> list[Hook]:
        """Those of `BEFORE` or `AFTER` that have something to do with these options, if the task ends well and returns
        nothing; with other options, and else, ask `of`."""
        if not (HEEDED.isdisjoint(of_message) and HEEDED.isdisjoint(of_task)):
            return self.of(name)
        plain = self._plain.get(name)
        if plain is None:
            plain = self._plain[name] = [hook for hook in self.of(name) if not _is_quiet(hook.middleware)]
        return plain


def _is_quiet(middleware: Middleware) -> bool:
    found = QUIET.get(type(middleware))
    return found is not None and found[1](middleware)
