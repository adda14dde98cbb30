"""The backend: Django tasks as messages of one of our brokers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage
from django.db import DEFAULT_DB_ALIAS, transaction
from django.utils import timezone
from dramatiq import Message

from django_cfg.errors import DjangoCfgError, InvalidTaskOption
from django_cfg.tasks.backends import actor, options, registry, results, signals, stores, wire
from django_cfg.tasks.backends.task import EngineTask
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.actor import new_id
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.brokers.transactions import open_transaction
from django_cfg.tasks.compat import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from django_cfg.units import ms_until, s_to_ms

if TYPE_CHECKING:
    from django_cfg.tasks.brokers.base import EngineBroker

LONGEST_ID = 64
#: Uses of tasks that are known to be valid.
MOST_CHECKED = 256


class EngineBackend(BaseTaskBackend):
    """Django tasks on the broker of this project, or on one of their own (`OPTIONS["broker_url"]`).

    Cheap to make: Django makes one for each thread, and the first while task modules are imported.
    """

    task_class = EngineTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._own = options.read(alias, self.options)
        self._checked: dict[int, AnyTask] = {}

    @property
    def max_attempts(self) -> int:
        """How often a task runs that names no number itself."""
        return self._own.max_attempts

    @property
    def broker(self) -> EngineBroker:
        """Where the tasks of this backend wait; it knows every declared task."""
        broker = stores.broker_of(self._own.broker_url)
        actor.declare_all(broker)
        return broker

    def validate_task(self, task: AnyTask) -> None:
        super().validate_task(task)
        registry.note(task)
        if len(self._checked) >= MOST_CHECKED:
            self._checked.clear()
        self._checked[id(task)] = task  # frozen, as the settings of this instance are: enqueue need not ask again

    def close(self) -> None:
        """For `task_backends.close_all()`; brokers look after their connections themselves."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return []

    # -- enqueue ---------------------------------------------------------------------------------------

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:  # type: ignore[override]
        """Accept a task.

        Raises:
            InvalidTask: as Django says it.
            TypeError, ValueError: an argument that is not JSON, or more of them than `max_payload_bytes`.
            BrokerUnreachable, EnqueueUnknown: the store did not answer.
        """
        if self._checked.get(id(task)) is not task:
            self.validate_task(task)
        broker = self.broker
        message = self._message(broker, task, args, kwargs, time.time_ns() // 1000)
        if not broker.supports_find:
            found = self._find(message.message_id) if getattr(task, "unique", False) else None
            if found is not None and not found.is_finished:
                return found
            if found is not None and found.status == TaskResultStatus.FAILED:
                broker.clear_dead(DeadFilter(message_ids=(found.id,)))  # others do it as they accept the message
        message = _accept(broker, message, task.run_after)
        result = results.enqueued(task, message, self.alias)
        if getattr(task, "unique", False):
            found = self._find(message.message_id)
            if found is not None and found.is_finished:  # an earlier life, if this one waits for its commit
                found = stores.in_outbox(broker, message.message_id) or found
            if found is not None and found.enqueued_at != result.enqueued_at:
                return found  # it waits or runs already
        self._announce(broker, message, result)
        return result

    def take_over(
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any], *, result_id: str, enqueued_at: datetime
    ) -> None:
        """Accept what waited in another system, under its id; in a transaction, with its commit."""
        broker = self.broker
        message = self._message(broker, task, args, kwargs, wire.micros(enqueued_at), result_id)
        message.options["enqueue_on_commit"] = True
        _store(broker, message, task.run_after)

    def _message(
        self,
        broker: EngineBroker,
        task: AnyTask,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        enqueued_at: int | None,
        result_id: str | None = None,
    ) -> Message[Any]:
        path = task.module_path
        plain_args, plain_kwargs = wire.plain_arguments(args, kwargs, f"the arguments of {path}")
        return Message(
            queue_name=task.queue_name,
            actor_name=path,
            args=plain_args,
            kwargs=plain_kwargs,
            options=self._options(broker, task, enqueued_at),
            message_id=result_id or _message_id(task, plain_args, plain_kwargs),
        )

    def options_of(self, task: AnyTask) -> dict[str, Any]:
        """What a message of the task that is enqueued now carries, if that is not as usual."""
        return self._options(self.broker, task, time.time_ns() // 1000)

    def _options(self, broker: EngineBroker, task: AnyTask, enqueued_at: int | None) -> dict[str, Any]:
        declared: dict[str, Any] = {"enqueued_at": enqueued_at}
        given: dict[str, Any] = {wire.DECLARED: declared}
        if self.alias != wire.USUAL_BACKEND:
            declared["backend"] = self.alias
        if task.priority:
            declared["priority"], given["priority"] = task.priority, -int(task.priority)
        if task.run_after is not None:
            declared["run_after"] = wire.micros(task.run_after)
        self._limit(broker, task, given)
        return given

    def _limit(self, broker: EngineBroker, task: AnyTask, given: dict[str, Any]) -> None:
        """What the actor of the task or the configuration does not say already."""
        retries = actor.attempts(task, self.max_attempts) - 1
        if retries != broker.option_of(task.module_path, "max_retries"):
            given["max_retries"] = retries
        own = task.enqueue_on_commit if isinstance(task, EngineTask) else None
        on_commit = self._own.enqueue_on_commit if own is None else own
        if on_commit != broker.settings.enqueue_on_commit:
            given["enqueue_on_commit"] = on_commit
        if isinstance(task, EngineTask) and task.expires is not None:
            given["max_age"] = s_to_ms(task.expires) + (_wait_ms(task.run_after) or 0)

    def _announce(self, broker: EngineBroker, message: Message[Any], result: AnyResult) -> None:
        """Tell receivers when the task is accepted: now, or with the commit of which it is a part."""
        if not signals.is_heard(task_enqueued):
            return
        alias = _commit_of(broker, message)
        if alias is None:
            signals.send(task_enqueued, type(self), result)
        else:
            transaction.on_commit(partial(signals.send, task_enqueued, type(self), result), using=alias, robust=True)

    # -- results ---------------------------------------------------------------------------------------

    def get_result(self, result_id: str) -> AnyResult:
        """The result of a task, from its enqueue on.

        Raises:
            TaskResultDoesNotExist: unknown, expired, or no id at all.
        """
        found = self._find(result_id) if _is_id(result_id) else None
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        return found

    def _find(self, result_id: str) -> AnyResult | None:
        return stores.find(self.broker, result_id)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID and "\0" not in value


def _accept(broker: EngineBroker, message: Message[Any], run_after: datetime | None) -> Message[Any]:
    """Store the message, and what stands for it where brokers find none; returns it as it was accepted."""
    if broker.supports_find:
        return _store(broker, message, run_after)
    if broker.collecting() is not None:  # it goes out with an outcome, later than this
        accepted = _store(broker, message, run_after)
        stores.note_waiting(broker, accepted)
        return accepted
    stores.note_waiting(broker, message)
    try:
        return _store(broker, message, run_after)
    except (DjangoCfgError, InvalidTask) as error:
        stores.note_refused(broker, message, error)
        raise


def _store(broker: EngineBroker, message: Message[Any], run_after: datetime | None) -> Message[Any]:
    try:
        return broker.enqueue(message, delay=_wait_ms(run_after))
    except InvalidTaskOption as error:
        raise InvalidTask(str(error)) from error


def _commit_of(broker: EngineBroker, message: Message[Any]) -> str | None:
    """The database whose open transaction decides whether the message is accepted; None: it is accepted now."""
    connection = open_transaction(broker.transaction_alias or DEFAULT_DB_ALIAS)
    if connection is None or not connection.in_atomic_block:
        return None
    is_part = connection.alias == broker.transaction_alias
    return connection.alias if is_part or broker.waits_for_commit(message) else None


def _wait_ms(run_after: datetime | None) -> int | None:
    if run_after is None:
        return None
    aware = timezone.make_aware(run_after) if timezone.is_naive(run_after) else run_after
    return ms_until(aware, datetime.now(aware.tzinfo))


def _message_id(task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A new one; for a unique task the same as long as it is the same: an id that lives is accepted once."""
    unique = task.unique if isinstance(task, EngineTask) else False
    if unique is False:
        return new_id()
    key = unique(*args, **kwargs) if callable(unique) else codec.dumps([args, sorted(kwargs.items())])
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task.module_path}:{key}"))
