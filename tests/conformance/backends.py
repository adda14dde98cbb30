"""Our backend in the roles that Django's own tests know: one that only accepts, and one that runs at once."""

from __future__ import annotations

from typing import Any

from django_cfg.tasks.backends import EngineBackend
from django_cfg.testing import drain, purge


class DummyBackend(EngineBackend):
    """Accepts and runs nothing; what it accepted can be looked at."""

    _accepted: list[Any] = []

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        self._accepted.append(result)
        return result

    @property
    def results(self) -> list[Any]:
        return self._accepted

    def clear(self) -> None:
        self._accepted.clear()
        purge()


class ImmediateBackend(EngineBackend):
    """Runs each task as soon as it is accepted, in the same thread."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        drain(backend=self.alias)
        result.refresh()
        return result
