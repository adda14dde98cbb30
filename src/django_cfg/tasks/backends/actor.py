"""Django tasks as actors: each declared task has one, named by the path of its function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from dramatiq import Message
from dramatiq import asyncio as dramatiq_asyncio
from dramatiq.middleware import CurrentMessage

from django_cfg.errors import InvalidTaskOption, PayloadTooLarge
from django_cfg.tasks.backends import lost, registry, results, signals, stores, wire
from django_cfg.tasks.backends.hooks import TaskHooks
from django_cfg.tasks.backends.ours import backends_of_ours
from django_cfg.tasks.backends.run import Run
from django_cfg.tasks.backends.task import EngineTask
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.actor import EngineActor
from django_cfg.tasks.compat import (
    AnyTask,
    TaskContext,
    task_backends,
    task_started,
)
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.middleware.connections import Connections
from django_cfg.units import s_to_ms

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

#: What JSON writes as it is, and in few bytes: these, and whole numbers up to here. No text: it may be long.
PLAIN, LARGE = frozenset({bool, type(None)}), 2**63
#: Up to which declaration each broker knows the tasks, and by which settings.
_declared: WeakKeyDictionary[EngineBroker, tuple[int, Any]] = WeakKeyDictionary()
_declaring = threading.Lock()


class TaskActor(EngineActor[Any, Any]):
    """Runs a Django task. Its value leaves with the task's result, not as Dramatiq's."""

    task: AnyTask
    is_async = False

    @property
    def arguments_of_its_own(self) -> int:
        """How many arguments come before those of the message: the context, if the task takes it."""
        return int(self.task.takes_context)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        message: Any = CurrentMessage.get_current_message()
        message.run = run = Run(message, self.task)
        run.start()
        if signals.is_heard(task_started):
            task_started.send_robust(sender=signals.sender_of(run.backend), task_result=run.result)
        function = _in_a_loop(self.task.func) if self.is_async else self.task.func
        if self.task.takes_context:
            value = function(TaskContext(task_result=run.result), *args, **kwargs)
        else:
            value = function(*args, **kwargs)
        run.value = value if _is_plain(value) else self._checked(value)

    def message_with_options(
        self, *, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **given: Any
    ) -> Message[Any]:
        """Sent by its name, as operators do, it is a Django task like any other: its result can be read."""
        message = super().message_with_options(args=args, kwargs=kwargs, **given)
        return message.copy(options={**_usual_options(self.task), **given})

    def dispatch(self, message: Message[Any], delay: Any = None) -> Message[Any]:
        broker = cast("EngineBroker", self.broker)
        if not broker.supports_find:
            stores.note_waiting(broker, message)
        return super().dispatch(message, delay)

    def tick_options(self) -> dict[str, Any]:
        """As if it had been enqueued by hand: the limits and the backend of the task."""
        return _usual_options(self.task)

    def copy_options(self, message: Message[Any]) -> dict[str, Any]:
        """As if it had been enqueued by hand once more, with what `using()` said then."""
        given = message.options.get(wire.DECLARED) or {}
        return _usual_options(results.task_of(message.actor_name, message.queue_name, given))

    def _checked(self, value: Any) -> Any:
        """The value as it will come back.

        Raises:
            TypeError, ValueError: it is no JSON, or too much of it.
        """
        plain = wire.plain(value, f"the result of {self.actor_name}")
        settings: TaskSettings = cast("EngineBroker", self.broker).settings
        size, limit = len(codec.dumps(plain).encode()), settings.max_payload_bytes
        if size > limit:
            raise PayloadTooLarge(
                f"the result of {self.actor_name} has {size:,} bytes, above max_payload_bytes ({limit:,}); "
                "store the data and return its key"
            )
        return plain


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in PLAIN or bool(kind is int and -LARGE < value < LARGE)


def _usual_options(task: AnyTask) -> dict[str, Any]:
    """What a message of the task carries; one that was declared with a foreign backend goes by way of our first."""
    ours = {backend.alias: backend for backend in backends_of_ours()}
    backend = ours.get(task.backend) or next(iter(ours.values()), None)
    options: dict[str, Any] = {} if backend is None else backend.options_of(task)
    return options


def _in_a_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """An async task runs on the event loop of its worker; where there is none, in a loop of its own."""
    if dramatiq_asyncio.get_event_loop_thread() is None:
        return async_to_sync(function)
    return dramatiq_asyncio.async_to_sync(function)


# -- declaring ---------------------------------------------------------------------------------------------


def declare_all(broker: EngineBroker) -> None:
    """Make every declared task known to a broker; costs nothing when nothing is new."""
    version, settings = registry.version(), task_backends.settings
    done = _declared.get(broker)
    if done is not None and done[0] == version and done[1] is settings:
        return
    with _declaring:
        if not any(isinstance(m, TaskHooks) for m in broker.middleware):
            # After the hooks of all others, and before connections are looked after: receivers of signals use them.
            broker.add_middleware(TaskHooks(), after=Connections)
            lost.listen()
        for task in registry.tasks():
            _declare(broker, task)
        for queue in _configured_queues():
            broker.declare_queue(queue)
        _declared[broker] = version, settings


def _declare(broker: EngineBroker, task: AnyTask) -> None:
    """Make one task known to a broker, or its new options."""
    options, priority = _options(broker, task), -int(task.priority)
    unknown = options.keys() - broker.known_options
    if unknown:
        raise InvalidTaskOption(
            f"task {task.module_path}: {', '.join(sorted(unknown))} needs a middleware that this project's list lacks"
        )
    known = broker.actors.get(task.module_path)
    if isinstance(known, TaskActor) and known.task.func is task.func:
        known.options, known.priority, known.task = options, priority, task
        return
    broker.actors.pop(task.module_path, None)  # declared anew, in a test or a shell
    actor = TaskActor(
        task.func,
        broker=broker,
        actor_name=task.module_path,
        queue_name=task.queue_name,
        priority=priority,
        options=options,
    )
    actor.task, actor.is_async = task, iscoroutinefunction(task.func)


def _options(broker: EngineBroker, task: AnyTask) -> dict[str, Any]:
    """Ceilings for what a message may carry; a message says what holds for it."""
    options: dict[str, Any] = {"store_results": False, "max_retries": most_attempts(task) - 1}
    if isinstance(task, EngineTask):
        if task.limit_ms is not None:
            options["time_limit"] = task.limit_ms
        if isinstance(task.backoff, int | float):
            options["min_backoff"] = s_to_ms(task.backoff)
            options["max_backoff"] = max(s_to_ms(task.backoff), broker.settings.max_backoff)
    return options


def attempts(task: AnyTask, of_backend: int) -> int:
    """How often a task may run."""
    own = task.max_attempts if isinstance(task, EngineTask) else None
    return of_backend if own is None else own


def most_attempts(task: AnyTask) -> int:
    """... whichever backend of ours it is sent with."""
    return max((attempts(task, backend.max_attempts) for backend in backends_of_ours()), default=1)


def _configured_queues() -> set[str]:
    return {queue for backend in backends_of_ours() for queue in backend.queues}
