"""Task results: while a task waits or runs they are read from its message, afterwards from what it left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from dramatiq import Message

from django_cfg.errors import TaskFailed
from django_cfg.tasks.backends import registry, wire
from django_cfg.tasks.brokers.contract import DeadLetterInfo, Standing
from django_cfg.tasks.brokers.endings import RETURNED, WHOLE
from django_cfg.tasks.compat import AnyResult, AnyTask, Task, TaskError, TaskResultStatus
from django_cfg.tasks.lifecycle import State

FIRST_LOOK_S, LONGEST_PAUSE_S = 0.01, 0.5
#: Queue, backend, priority and `run_after` of most tasks; only others are kept.
USUAL = ("default", wire.USUAL_BACKEND, 0, None)
#: The error of a task that died without a word of its own.
LOST = "django_cfg.errors.TaskLost"
#: How the reason of a dead letter begins whose last error is its end.
FAILED = "failed"
Built = TypeVar("Built")


class SentResult(AnyResult):
    """A task result whose fields are made of what was sent, when somebody reads one. Most senders read none, and they
    would cost nearly as much as the message."""

    __slots__ = ("_sent",)
    _sent: tuple[AnyTask, Message[Any], str]

    def __getattr__(self, name: str) -> Any:
        """A field that nobody has read or changed yet."""
        if name == "_sent":
            raise AttributeError(name)  # made otherwise
        for field, value in _as_sent(*self._sent).items():
            try:
                object.__getattribute__(self, field)
            except AttributeError:
                object.__setattr__(self, field, value)
        return object.__getattribute__(self, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTaskResult(SentResult):  # type: ignore[misc]  # of a frozen one, which mypy does not see
    """A task result that can also be waited for."""

    def ready(self) -> bool:
        """Whether the task has finished; asks the store."""
        self.refresh()
        return self.is_finished

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its value.

        Parameters:
            timeout: seconds; None: as long as it takes.

        Raises:
            TaskFailed: the task failed; carries its last error.
            TimeoutError: it had not finished in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause_s = FIRST_LOOK_S
        while not self.ready():
            left_s = math.inf if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"task {self.task.module_path} {self.id} has not finished within {timeout} s")
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        if self.status == TaskResultStatus.FAILED:
            raise TaskFailed(self.task.module_path, self.id, self.errors[-1].traceback if self.errors else "")
        return self.return_value


def built(kind: type[Built], **values: Any) -> Built:
    """An instance as it was stored: neither checked nor normalized again, because settings may have changed."""
    made = object.__new__(kind)
    put = object.__setattr__
    for name, value in values.items():
        put(made, name, value)
    return made


def enqueued(task: AnyTask, message: Message[Any], alias: str) -> EngineTaskResult:
    """The result of a task that has just been sent."""
    made = object.__new__(EngineTaskResult)
    object.__setattr__(made, "_sent", (task, message, alias))
    return made


def _as_sent(task: AnyTask, message: Message[Any], alias: str) -> dict[str, Any]:
    return {
        "task": task,
        "id": message.message_id,
        "status": TaskResultStatus.READY,
        "enqueued_at": wire.moment(message.options[wire.DECLARED]["enqueued_at"]),
        "started_at": None,
        "finished_at": None,
        "last_attempted_at": None,
        "args": list(message.args),
        "kwargs": message.kwargs,
        "backend": alias,
        "errors": [],
        "worker_ids": [],
        "_return_value": None,
    }


def standing(found: Standing) -> EngineTaskResult:
    """The result of a task that waits or runs."""
    message, history = found.message, wire.history(found.message.options)
    result = from_message(message)
    workers = history.with_lost(found.deliveries)
    if found.state is State.RUNNING:
        taken_at = None if found.claimed_at_ms is None else found.claimed_at_ms * 1000
        started_at = history.started_at if history.started_at is not None else taken_at
        change(result, status=TaskResultStatus.RUNNING, started_at=wire.moment(started_at))
        change(result, last_attempted_at=wire.moment(taken_at))
        workers = [*workers, found.worker]
    change(result, worker_ids=workers)
    return result


def dead(letter: DeadLetterInfo, message: Message[Any], died_at_us: int) -> EngineTaskResult:
    """The result of a task that died without a word of its own (with its process, unknown, undecodable), or whose own
    word is kept no longer."""
    result = from_message(message)
    workers = wire.history(message.options).with_lost(letter.deliveries)
    change(result, status=TaskResultStatus.FAILED, finished_at=wire.moment(died_at_us), worker_ids=workers)
    if not (result.errors and letter.reason.startswith(FAILED)):
        error = TaskError(exception_class_path=LOST, traceback=f"{letter.reason}\n")
        change(result, errors=[*result.errors, error])
    return result


def is_lost(result: AnyResult) -> bool:
    """Whether nobody but the broker has said that the task is over."""
    return bool(result.errors) and result.errors[-1].exception_class_path == LOST


def cancelled(message: Message[Any], at_ms: int | None) -> EngineTaskResult:
    """The result of a task that an operator took away."""
    result = from_message(message)
    error = TaskError(exception_class_path="django_cfg.errors.TaskCancelled", traceback="cancelled by an operator\n")
    finished_at = wire.moment(None if at_ms is None else at_ms * 1000)
    change(result, status=TaskResultStatus.FAILED, finished_at=finished_at, errors=[*result.errors, error])
    return result


def from_message(message: Message[Any]) -> EngineTaskResult:
    """What a message itself says of its task: it waits, and this has happened so far."""
    options = message.options
    declared, history = options.get(wire.DECLARED), wire.history(options)
    given = declared if isinstance(declared, dict) else {}
    enqueued_at = given.get("enqueued_at", round(message.message_timestamp) * 1000)
    last = history.last_attempted_at
    return built(
        EngineTaskResult,
        task=task_of(message.actor_name, message.queue_name, given),
        id=message.message_id,
        status=TaskResultStatus.READY,
        enqueued_at=wire.moment(enqueued_at),
        started_at=wire.moment(history.started_at),
        finished_at=None,
        last_attempted_at=wire.moment(last),
        args=list(message.args),
        kwargs=message.kwargs,
        backend=given.get("backend", wire.USUAL_BACKEND),
        errors=wire.errors(options),
        worker_ids=list(history.worker_ids),
        _return_value=None,
    )


def task_of(path: str, queue_name: str, given: Mapping[str, Any]) -> AnyTask:
    """The declared task with the values that it was sent with."""
    declared = registry.known(path)
    sent = {
        "queue_name": queue_name,
        "priority": given.get("priority", 0),
        "run_after": wire.moment(given.get("run_after")),
        "backend": given.get("backend", wire.USUAL_BACKEND),
    }
    if declared is not None and all(getattr(declared, name) == value for name, value in sent.items()):
        return declared
    if declared is None:
        return built(Task, func=_missing(path), takes_context=False, **sent)
    values = {field.name: getattr(declared, field.name) for field in fields(declared)}
    return built(type(declared), **{**values, **sent})


def _missing(path: str) -> Callable[..., Any]:
    """In place of a function that was renamed or removed since."""

    def missing(*args: Any, **kwargs: Any) -> Any:
        raise LookupError(f"this project has no task {path}")

    missing.__module__, _, missing.__qualname__ = path.rpartition(".")
    missing.__name__ = missing.__qualname__
    return missing


# -- what is kept of a finished task -----------------------------------------------------------------------


def is_kept(value: Any) -> bool:
    """Whether a stored value is a finished result of a Django task."""
    return isinstance(value, dict) and WHOLE in value


def read_kept(message_id: str, value: Mapping[str, Any]) -> EngineTaskResult:
    """The way back."""
    queue_name, backend, priority, run_after = value.get("given", USUAL)
    given = {"backend": backend or wire.USUAL_BACKEND, "priority": priority or 0, "run_after": run_after}
    enqueued_at, started_at, last_attempted_at, finished_at = map(wire.moment, value["at"])
    return built(
        EngineTaskResult,
        task=task_of(value["task"], queue_name, given),
        id=message_id,
        status=TaskResultStatus(value["status"]),
        enqueued_at=enqueued_at,
        started_at=started_at,
        finished_at=finished_at,
        last_attempted_at=last_attempted_at,
        args=value["args"],
        kwargs=value.get("kwargs", {}),
        backend=given["backend"],
        errors=[TaskError(exception_class_path=path, traceback=text) for path, text in value.get("errors", ())],
        worker_ids=value["worker_ids"],
        _return_value=value.get(RETURNED),
    )


def change(result: EngineTaskResult, **values: Any) -> None:
    """Set fields of a result; the framework means it to be frozen for everybody else."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
