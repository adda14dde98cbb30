"""One object for monitoring code: a thin front of queries, actions and health, in plain lists and dicts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.core import checks as django_checks

from django_cfg.errors import ConfigurationError
from django_cfg.tasks import actions, conf, health, queries
from django_cfg.tasks.brokers.contract import DeadFilter, QueueStats
from django_cfg.tasks.health import AWAY
from django_cfg.tasks.worker.discover import discover

REDIS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "sentinel")
LABEL = "django_cfg_tasks"


class TaskManager:
    """Workers and queues: what there is, pause, resume, clear."""

    def get_worker_stats(self) -> list[dict[str, Any]]:
        """One entry a worker process; `status` is "active", "idle" or "lost". Web processes never count.

        Raises:
            DatabaseError: the database of the registry does not answer.
        """
        return [asdict(worker) for worker in queries.workers()]

    def get_queue_stats(self) -> list[dict[str, Any]]:
        """One entry a queue: `name`, `pending`, `processing`, `scheduled`, `retrying`, `dead`, `oldest_pending_age_s`.

        Raises:
            BrokerError, DatabaseError: the broker does not answer.
        """
        return [queue_item(stats) for stats in queries.queue_stats()]

    def paused_queues(self) -> list[str]:
        """Queues from which nothing starts until somebody resumes them, by name."""
        return sorted(queries.broker().paused_queues())

    def pause(self, queue: str) -> None:
        """Start nothing more from a queue until it is resumed."""
        actions.pause(queue)

    def resume(self, queue: str) -> None:
        """End a pause."""
        actions.resume(queue)


class DjangoTasks(TaskManager):
    """The service that `get_task_service()` gives. It holds no state and no connection."""

    @property
    def enabled(self) -> bool:
        """Whether tasks are accepted."""
        return conf.read().enabled

    def check_broker(self) -> dict[str, Any]:
        """Whether the broker answers: `reachable`, `latency_ms` (None if not) and `error` (empty if it does)."""
        began = time.perf_counter()
        try:
            queries.broker().ping()
        except AWAY as error:
            return {"reachable": False, "latency_ms": None, "error": str(error)}
        return {"reachable": True, "latency_ms": round((time.perf_counter() - began) * 1000, 3), "error": ""}

    def check_redis_connection(self) -> bool | None:
        """Whether the broker's Redis answers; None where the broker is no Redis."""
        if urlsplit(queries.broker().settings.broker_url).scheme not in REDIS:
            return None
        return bool(self.check_broker()["reachable"])

    def count_failed(self, **only: Any) -> int:
        """How many dead letters there are; the arguments choose, as those of `retry_failed`."""
        return queries.count_failed(chosen(only))

    def retry_failed(self, *, spread_s: float = 0, **only: Any) -> int:
        """Give dead letters a fresh life; returns how many.

        Parameters:
            spread_s: start them at random moments within this many seconds.
            only: fields of `DeadFilter`: `queue`, `task`, `message_ids`, `error`, `older_than_s`, `newer_than_s`,
                or `everything=True`.

        Raises:
            ValueError: nothing was chosen.
        """
        return actions.retry_failed(chosen(only), spread_s=spread_s)

    def clear_failed(self, **only: Any) -> int:
        """Delete dead letters for good; returns how many. Chosen as in `retry_failed`."""
        return actions.clear_failed(chosen(only))

    def cancel(self, message_id: str) -> bool:
        """Take a waiting task away; False if it is unknown or already runs."""
        return actions.cancel(message_id)

    def get_health(self) -> health.Report:
        """The verdict of this moment with its reasons."""
        return health.report()


def chosen(only: dict[str, Any]) -> DeadFilter:
    """The filter that keyword arguments mean."""
    ids: Iterable[str] = only.pop("message_ids", ())
    return DeadFilter(message_ids=(ids,) if isinstance(ids, str) else tuple(ids), **only)


def queue_item(stats: QueueStats) -> dict[str, Any]:
    """A queue in the words of monitoring code."""
    return {
        "name": stats.queue,
        "pending": stats.pending,
        "processing": stats.running,
        "scheduled": stats.scheduled,
        "retrying": stats.retrying,
        "dead": stats.dead,
        "oldest_pending_age_s": stats.oldest_pending_age_s,
    }


_service = DjangoTasks()


def get_task_service() -> DjangoTasks:
    """The one service of this process."""
    return _service


def get_task_health() -> dict[str, Any]:
    """The state of background work as one dict; never raises because somebody does not answer.

    Keys: `enabled`, `redis_connection` (None where no Redis is used), `configuration_valid` (no error among this
    project's system checks of tasks), `workers` and `queues` (empty when nobody answers), `discovered_modules`.
    """
    return {
        "enabled": _enabled(),
        "redis_connection": _service.check_redis_connection(),
        "configuration_valid": is_configuration_valid(),
        "workers": _or_nothing(_service.get_worker_stats),
        "queues": _or_nothing(_service.get_queue_stats),
        "discovered_modules": _modules(),
    }


def _enabled() -> bool:
    try:
        return _service.enabled
    except ConfigurationError:
        return False


def _or_nothing(ask: Any) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = ask()
    except (*AWAY, ConfigurationError):
        return []
    return found


def _modules() -> list[str]:
    try:
        return discover(conf.read())
    except ConfigurationError:
        return []


def is_configuration_valid() -> bool:
    """No error among the checks of background tasks; connects to nothing."""
    try:
        found = django_checks.run_checks(tags=[django_checks.Tags.compatibility, django_checks.Tags.caches])
    except ConfigurationError:
        return False
    return not any((one.id or "").startswith(LABEL) and one.is_serious() for one in found)


def clear_dramatiq_queues(*queues: str, everything: bool = False) -> int:
    """Delete what waits or runs in queues, for development; dead letters stay. Returns how many messages went.

    Parameters:
        queues: names; none are named only with `everything=True`.

    Raises:
        ValueError: neither a queue nor `everything` was given.
    """
    if not queues and not everything:
        raise ValueError("name the queues to clear, or say everything=True; what they hold is lost")
    broker = queries.broker()
    found = {stats.queue: stats for stats in queries.queue_stats()}
    names = list(found) if everything else list(dict.fromkeys(queues))
    gone = sum(_held(found[name]) for name in names if name in found)
    for name in names:
        broker.flush(name)
    return gone


def _held(stats: QueueStats) -> int:
    return stats.living
