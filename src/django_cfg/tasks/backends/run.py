"""One run of a Django task, from its start to what is kept of it. The framework's object is made only for who asks."""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from typing import Any

from django_cfg.tasks.backends import results, wire
from django_cfg.tasks.brokers.collector import as_stored
from django_cfg.tasks.brokers.endings import RETURNED, WHOLE
from django_cfg.tasks.compat import AnyResult, AnyTask, TaskError, TaskResultStatus

#: Asked of the class, each costs as much as a call.
READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
SCALARS = frozenset({str, int, float, bool, type(None)})


class Run:
    """What a run does to the result of its task. Times are microseconds since 1970.

    Attributes:
        result: the framework's object, as it is at this moment; always the same one.
    """

    __slots__ = (
        "_result",
        "errors",
        "finished_at",
        "first_at",
        "last_at",
        "message",
        "status",
        "task",
        "value",
        "workers",
    )

    def __init__(self, message: Any, task: AnyTask) -> None:
        options, deliveries = message.options, message.claim.deliveries
        self.message, self.task, self.status = message, task, READY
        self.first_at: int | None = None
        self.last_at: int | None = None
        self.finished_at: int | None = None
        self.workers: list[str] = []
        self.errors = wire.errors(options) if "errors" in options else []
        if deliveries or wire.ATTEMPTS in options:
            history = wire.history(options)
            self.first_at, self.last_at = history.started_at, history.last_attempted_at
            self.workers = history.with_lost(deliveries)
        self.value: Any = None
        self._result: results.EngineTaskResult | None = None

    def start(self) -> None:
        """Now, in this process."""
        self.last_at = now = time.time_ns() // 1000
        if self.first_at is None:
            self.first_at = now
        self.workers = [*self.workers, worker_id(os.getpid())]
        self.status = RUNNING

    def fail(self, error: TaskError) -> None:
        """Another error; whether it was the last one is not said yet."""
        self.errors = [*self.errors, error]

    def finish(self, status: TaskResultStatus) -> None:
        """Nothing comes after this."""
        self.finished_at, self.status = time.time_ns() // 1000, status

    @property
    def backend(self) -> str:
        """The alias of the backend that enqueued the task."""
        declared = self.message.options.get(wire.DECLARED)
        return str(declared.get("backend", wire.USUAL_BACKEND)) if isinstance(declared, dict) else wire.USUAL_BACKEND

    @property
    def result(self) -> AnyResult:
        if self._result is None:
            self._result = results.from_message(as_stored(self.message.claim))
        results.change(
            self._result,
            status=self.status,
            started_at=wire.moment(self.first_at),
            last_attempted_at=wire.moment(self.last_at),
            finished_at=wire.moment(self.finished_at),
            worker_ids=self.workers,
            errors=self.errors,
            _return_value=self.value,
        )
        return self._result

    def history(self) -> dict[str, Any]:
        """What the message carries to the next run."""
        return {"started_at": self.first_at, "last_attempted_at": self.last_at, "worker_ids": self.workers}

    def kept(self) -> dict[str, Any]:
        """What is stored of a finished task, without what is as usual; `results.read_kept` is the way back."""
        message, declared = self.message, self.message.options.get(wire.DECLARED) or {}
        if not _is_plain(message):
            message = as_stored(self.message.claim)  # the task may have changed its arguments in place
        enqueued_at = declared.get("enqueued_at") or round(message.message_timestamp) * 1000
        kept = {
            WHOLE: 1,
            "task": message.actor_name,
            "status": self.status,
            "at": (enqueued_at, self.first_at, self.last_at, self.finished_at),
            "args": message.args,
            "worker_ids": self.workers,
        }
        if len(declared) > 1 or message.queue_name != results.USUAL[0]:
            backend, priority = declared.get("backend", wire.USUAL_BACKEND), declared.get("priority", 0)
            kept["given"] = (message.queue_name, backend, priority, declared.get("run_after"))
        if message.kwargs:
            kept["kwargs"] = message.kwargs
        if self.errors:
            kept["errors"] = [[error.exception_class_path, error.traceback] for error in self.errors]
        if self.value is not None:
            kept[RETURNED] = self.value
        return kept


def _is_plain(message: Any) -> bool:
    if message.kwargs and not SCALARS.issuperset(map(type, message.kwargs.values())):
        return False
    return not message.args or SCALARS.issuperset(map(type, message.args))


_given_id: str | None = None


def use_worker_id(name: str, *, several: bool) -> None:
    """The name that an operator gave to this worker, or to several processes of it."""
    global _given_id
    _given_id = f"{name}:{{pid}}" if several else name
    worker_id.cache_clear()


@cache
def worker_id(pid: int) -> str:
    """How results name this process."""
    return f"{socket.gethostname()}:{pid}" if _given_id is None else _given_id.replace("{pid}", str(pid))
