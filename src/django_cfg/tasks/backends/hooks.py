"""The end of a Django task: its result, its signal, its log line."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed
from dramatiq.middleware import Middleware

from django_cfg.tasks import conf
from django_cfg.tasks.backends import registry, results, signals, wire
from django_cfg.tasks.backends.run import Run
from django_cfg.tasks.backends.task import EngineTask
from django_cfg.tasks.brokers.collector import Collector, as_stored, describe, secrets_of
from django_cfg.tasks.brokers.contract import ResultEntry
from django_cfg.tasks.compat import TaskError, TaskResultStatus, task_finished
from django_cfg.tasks.log import hiding
from django_cfg.units import days_to_ms, s_to_ms

logger = logging.getLogger(__name__)


class TaskHooks(Middleware):
    """Stands so early in the list that its after-hooks run last, when it is decided what becomes of a task."""

    def __init__(self) -> None:
        signals.logger.addFilter(hiding.CLEAN)  # the framework's own receiver writes the exception of a failed task

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        run: Run | None = message.run
        if run is None:
            return  # an actor, or a hook ended it before it began
        collector: Collector = broker.collecting()
        if exception is None:
            if not collector.hook_errors:  # else the engine runs it again or buries it
                _finish(broker, collector, run, TaskResultStatus.SUCCESSFUL)
            return
        with hiding.keeping_out(secrets_of(as_stored(message.claim), broker.actors.get(message.actor_name))) as hidden:
            self._after_failure(broker, message, run, exception, hidden)

    def _after_failure(
        self, broker: Any, message: Any, run: Run, exception: BaseException, hidden: frozenset[str]
    ) -> None:
        collector: Collector = broker.collecting()
        run.fail(_error(exception, hidden))
        if collector.retry_message is not None and _may_retry(collector, message, run, exception, hidden):
            message.options[wire.ATTEMPTS] = run.history()
            collector.waiting_ttl_ms = None if broker.supports_find else _ttl_ms(broker)
            text = run.errors[-1].traceback.rstrip()
            logger.warning(
                "Task id=%s path=%s failed and runs again.\n%s", message.message_id, message.actor_name, text
            )
        else:
            _finish(broker, collector, run, TaskResultStatus.FAILED)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """A hook decided that the task does not run: it waited too long."""
        if wire.DECLARED not in message.options:
            return
        task = registry.known(message.actor_name) or results.from_message(message).task
        message.run = run = Run(message, task)
        text = str(message._exception or "skipped before it ran")
        run.fail(TaskError(exception_class_path="django_cfg.errors.TaskExpired", traceback=f"{text}\n"))
        _finish(broker, broker.collecting(), run, TaskResultStatus.FAILED)


def _error(exception: BaseException, hidden: frozenset[str]) -> TaskError:
    failure = describe(exception, hidden)
    return TaskError(exception_class_path=failure.path, traceback=failure.traceback)


def _may_retry(collector: Collector, message: Any, run: Run, exception: BaseException, hidden: frozenset[str]) -> bool:
    """Ask the task's own backoff; takes the retry back where it says no."""
    backoff = run.task.backoff if isinstance(run.task, EngineTask) else None
    if not callable(backoff):
        return True
    try:
        seconds = backoff(exception, run.result)
        delay_ms = None if seconds is None else max(0, s_to_ms(seconds))
    except Exception as error:  # noqa: BLE001 - a function of the project, and the engine has an answer of its own
        words = "The backoff of task %s failed; the engine's own holds."
        hiding.write(logger, words, message.actor_name, error=error, secrets=hidden)
        return True
    if delay_ms is None:
        collector.retry_message = None
        message.fail()
        return False
    collector.retry_delay_ms = delay_ms
    return True


def _finish(broker: Any, collector: Collector, run: Run, status: TaskResultStatus) -> None:
    run.finish(status)
    collector.result = ResultEntry(run.kept(), _ttl_ms(broker))
    level = logging.ERROR if status == TaskResultStatus.FAILED else logging.INFO
    if signals.is_heard(task_finished, level):
        task_finished.send_robust(sender=signals.sender_of(run.backend), task_result=run.result)


@lru_cache(maxsize=8)
def _kept_ms(default_days: float) -> int:
    days = conf.result_expiration_days()
    return days_to_ms(default_days if days is None else days)


def _ttl_ms(broker: Any) -> int:
    return _kept_ms(broker.settings.result_ttl_days)


def _forget(*, setting: str, **_: Any) -> None:
    """Settings change only in tests."""
    if setting == "TASKS_RESULT_EXPIRATION_DAYS":
        _kept_ms.cache_clear()


setting_changed.connect(_forget, dispatch_uid=__name__)
