"""`@task`: what Django's own takes, and the options that its framework has not decided on yet."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.module_loading import import_string

from django_cfg.tasks.compat import AnyResult, AnyTask, InvalidTask, task_backends
from django_cfg.units import s_to_ms

Backoff = float | Callable[[BaseException, AnyResult], float | None]
Unique = bool | Callable[..., str]
#: Words for priorities.
PRIORITIES = {"low": -50, "normal": 0, "high": 50}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTask(AnyTask):
    """A task of Django's framework with this engine's options.

    Attributes:
        max_attempts: how often it may run; None: what the backend says, 1 being Django's letter.
        backoff: seconds before the second run, doubled for each later one (as the engine does by default); or a
            function of the exception and the task result that returns the seconds, or None to give up.
        timeout: seconds that one run may take; then an exception is raised in it.
        time_limit: the same in milliseconds, as actors say it.
        expires: seconds; a task that has not started by then fails.
        unique: True: while one with the same arguments waits or runs, it is not enqueued again but returned; or a
            function of the arguments that names what must be unique.
        enqueue_on_commit: inside a transaction, enqueue after its commit; None: what the backend says.
        queue: another spelling of `queue_name`.
    """

    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    time_limit: int | None = None
    expires: float | None = None
    unique: Unique = False
    enqueue_on_commit: bool | None = field(default=None, compare=False)
    queue: InitVar[str | None] = None

    def __post_init__(self, queue: str | None) -> None:
        if queue is not None:
            object.__setattr__(self, "queue_name", queue)
        object.__setattr__(self, "priority", number(self.priority))
        _check(self)
        super(EngineTask, self).__post_init__()

    def using(self, **changes: Any) -> EngineTask:
        """The task with other values, as `Task.using`.

        Parameters:
            run_after: also a timedelta from now on.
            priority: also "low", "normal" or "high".
            queue: as `queue_name`.
            enqueue_on_commit: for this use.
        """
        for name in changes:
            if name not in CHANGEABLE:
                raise TypeError(f"using() got an unexpected keyword argument {name!r}")
        given = {name: value for name, value in changes.items() if value is not None}
        if isinstance(given.get("run_after"), timedelta):
            given["run_after"] = timezone.now() + given["run_after"]
        return replace(self, **given)

    def delay(self, *args: Any, **kwargs: Any) -> AnyResult:
        """As `enqueue`."""
        return self.enqueue(*args, **kwargs)

    @property
    def limit_ms(self) -> int | None:
        """The time limit of one run in milliseconds."""
        return self.time_limit if self.timeout is None else s_to_ms(self.timeout)

    def __reduce__(self) -> Any:
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "func"}
        declared = {name for name, value in values.items() if callable(value)}  # no lambda can be pickled
        kept = {name: value for name, value in values.items() if name not in declared}
        return _unpickled, (type(self), {**kept, "func": self.module_path}, sorted(declared))


CHANGEABLE = ("priority", "queue_name", "run_after", "backend", "queue", "enqueue_on_commit")


def _unpickled(kind: type[EngineTask], kept: dict[str, Any], declared: Sequence[str] = ()) -> EngineTask:
    """The task again; its functions are those of its declaration."""
    path = kept["func"]
    try:
        found = import_string(path)
        kept |= {name: getattr(found, name) for name in ("func", *declared)}
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Expected {path!r} to point to a Task instance.") from error
    return kind(**kept)


def number(priority: Any) -> Any:
    """A priority as Django counts it: -100 to 100, the highest first.

    Raises:
        InvalidTask: a word that is none of ours.
    """
    if not isinstance(priority, str):
        return priority
    if priority not in PRIORITIES:
        known = ", ".join(map(repr, PRIORITIES))
        raise InvalidTask(f"priority must be a whole number between -100 and 100, or {known}, got {priority!r}")
    return PRIORITIES[priority]


def _check(task: EngineTask) -> None:
    """Refuse what could not work, where the task is declared.

    Raises:
        InvalidTask: names the task, the option and what was expected.
    """
    name = getattr(task.func, "__qualname__", task.func)
    if task.timeout is not None and task.time_limit is not None:
        raise InvalidTask(f"task {name}: timeout (seconds) and time_limit (milliseconds) are the same; write one")
    for option, least, whole in (
        ("max_attempts", 1, True),
        ("time_limit", 1, True),
        ("timeout", 0.001, False),
        ("expires", 0.001, False),
    ):
        value = getattr(task, option)
        if value is not None and not (_is_number(value, least) and (isinstance(value, int) or not whole)):
            wanted = "a whole number" if whole else "a number of seconds"
            raise InvalidTask(f"task {name}: {option} must be {wanted} from {least} on, got {value!r}")
    if not isinstance(task.queue_name, str) or not task.queue_name:
        raise InvalidTask(f"task {name}: queue must be the name of a queue, got {task.queue_name!r}")
    if task.enqueue_on_commit is not None and not isinstance(task.enqueue_on_commit, bool):
        raise InvalidTask(f"task {name}: enqueue_on_commit must be True, False or None, got {task.enqueue_on_commit!r}")
    _check_callables(task, name)


def _check_callables(task: EngineTask, name: Any) -> None:
    backoff = task.backoff
    if backoff is not None and not callable(backoff) and not _is_number(backoff, 0):
        raise InvalidTask(f"task {name}: backoff must be seconds from 0 on, or a function, got {backoff!r}")
    if not isinstance(task.unique, bool) and not callable(task.unique):
        raise InvalidTask(f"task {name}: unique must be True, or a function of the arguments, got {task.unique!r}")


def _is_number(value: Any, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < math.inf


def task(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a task with all options of `EngineTask`, on every Django from 5.2 on.

    Django's own `@task` takes them too on 6.1 and with the backport on 5.2; on 6.0 it takes none.

    Parameters:
        options: `priority`, `queue_name`, `backend` and `takes_context` as in Django, and those of `EngineTask`.

    Raises:
        TypeError: an unknown option, or `run_after`, which belongs to `using()`.
        InvalidTask: a wrong value.
    """
    if "run_after" in options:
        raise TypeError(
            "run_after cannot be defined statically with the @task decorator. "
            "Use .using(run_after=...) to set it dynamically."
        )
    _refuse_unknown(options)

    def declare(declared: Callable[..., Any]) -> EngineTask:
        backend = task_backends[options.get("backend", "default")]
        wanted = backend.task_class
        kind = wanted if issubclass(wanted, EngineTask) else EngineTask
        return kind(**{"priority": 0, "backend": "default", "queue_name": "default", "takes_context": False,
                       "run_after": None, **options, "func": declared})  # fmt: skip

    return declare if function is None else declare(function)


def _refuse_unknown(options: dict[str, Any]) -> None:
    known = [*(one.name for one in fields(EngineTask) if one.name not in ("func", "run_after")), "queue"]
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise TypeError(f"@task has no option {name!r}; {hint}")
