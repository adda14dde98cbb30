"""READ: what queues and tasks look like now. Frozen dataclasses; no writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import dramatiq
from dramatiq import Actor

from django_cfg.errors import FilterError
from django_cfg.tasks import compat, conf
from django_cfg.tasks.backends.ours import backends_of_ours
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo, QueueStats
from django_cfg.tasks.brokers.outbox import look
from django_cfg.tasks.brokers.outbox.look import Backlog
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.cron.declared import declared
from django_cfg.tasks.cron.entry import Entry
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import ErrorGroup, Grain, OperatorAction
from django_cfg.tasks.records import stats
from django_cfg.tasks.records.filter import TaskFilter, parse
from django_cfg.tasks.records.policy import Policy, policy_of, refuse_unrecorded, refuse_without_records
from django_cfg.tasks.records.reading import Page, TaskDetail, detail, every, page
from django_cfg.tasks.records.stats import Span, TaskStats, TaskSummary
from django_cfg.tasks.worker import roster
from django_cfg.tasks.worker.discover import discover
from django_cfg.tasks.worker.roster import WorkerStats

__all__ = ["Page", "Span", "TaskDetail", "TaskFilter", "TaskStats", "TaskSummary", "WorkerStats"]


def broker() -> EngineBroker:
    """The broker of this project."""
    return cast("EngineBroker", dramatiq.get_broker())


def brokers() -> list[EngineBroker]:
    """The broker of this project, and those that backends of Django tasks have for themselves."""
    own = broker()
    others = [backend.broker for backend in backends_of_ours()] if compat.is_installed() else []
    return [own, *{id(one): one for one in others if one is not own}.values()]


def actor(task: str) -> Actor[Any, Any] | None:
    """The declared task of this name. Task modules are imported for one that is unknown so far."""
    if task not in broker().actors:
        discover(conf.read())
    return broker().actors.get(task)


def policy() -> Policy:
    """What this project records."""
    return policy_of(broker().settings)


def queue_stats() -> list[QueueStats]:
    """Every queue with its counts, by name."""
    return broker().queue_stats()


def outbox() -> list[Backlog]:
    """Databases that hold messages on their way to the broker; usually none."""
    return look.backlog()


def paused_queues() -> frozenset[str]:
    """Queues from which nothing starts until somebody resumes them."""
    return frozenset(broker().paused_queues())


def workers() -> list[WorkerStats]:
    """Every announced worker process, by host and pid: active, idle or lost. Never a web process."""
    return roster.workers()


def dead_letters(limit: int = 20, only: DeadFilter | None = None, after: str = "") -> list[DeadLetterInfo]:
    """The newest dead letters.

    Parameters:
        only: which; None: those of all queues.
        after: `cursor` of the last one of the page before.

    Raises:
        FilterError: `after` is no cursor of this broker.
    """
    return broker().dead_letters(only or DeadFilter(everything=True), limit, after)


def count_failed(only: DeadFilter | TaskFilter) -> int:
    """How many dead letters a filter means; of records those that the records know.

    Raises:
        NotRecorded: a filter of records, and `records="off"`.
    """
    if isinstance(only, DeadFilter):
        return broker().count_dead(only)
    refuse_without_records(policy())
    return sum(1 for _ in every(records_alias(), replace(only, states=(State.DEAD_LETTER,))))


def letters_meant(only: TaskFilter) -> DeadFilter | None:
    """A choice of records as one of dead letters; None if only the records can tell which those are.

    Raises:
        FilterError: tasks in other states.
    """
    if only.states not in ((), (State.DEAD_LETTER,)):
        raise FilterError("only dead letters can be retried or deleted; leave state: out, or say state:failed")
    if only.group or only.tag or only.worker or only.parent or len(only.tasks) > 1 or len(only.queues) > 1:
        return None
    now = datetime.now(UTC)
    return DeadFilter(
        queue=only.queues[0] if only.queues else None,
        task=only.tasks[0] if only.tasks else None,
        message_ids=only.ids,
        error=only.error or None,
        newer_than_s=None if only.since is None else (now - only.since).total_seconds(),
        older_than_s=None if only.before is None else (now - only.before).total_seconds(),
        everything=True,
    )


def code_schedules() -> dict[str, Entry]:
    """The schedules that the code declares, by name, also in task modules that nobody has imported yet."""
    settings = conf.read()
    discover(settings)
    return declared(settings)


def tasks(only: TaskFilter | str = "", limit: int = 50, after: str = "") -> Page:
    """Records that match, the last changed first.

    Parameters:
        only: a filter, or its text: `state:failed queue:mail since:2h`.
        after: `next` of the page before.

    Raises:
        FilterError: the text or the cursor says nothing clear.
        NotRecorded: a state that the setting `records` does not record; names it and where the answer is.
    """
    meant = parse(only) if isinstance(only, str) else only
    refuse_without_records(policy())
    for state in meant.states:
        refuse_unrecorded(policy(), state)
    return page(records_alias(), meant, limit, after)


def task(message_id: str) -> TaskDetail | None:
    """One record with its failed attempts; None if nothing is recorded under this id."""
    return detail(records_alias(), message_id)


def failures(limit: int = 50, since: datetime | None = None) -> list[ErrorGroup]:
    """Faults, the last seen first: the same task, type of error and way through the code.

    Raises:
        NotRecorded: `records="off"`.
    """
    refuse_without_records(policy())
    groups = ErrorGroup.objects.using(records_alias()).order_by("-last_seen", "-fingerprint")
    return list((groups if since is None else groups.filter(last_seen__gte=since))[:limit])


def operator_actions(limit: int = 50) -> list[OperatorAction]:
    """What operators did, the newest first."""
    return list(OperatorAction.objects.using(records_alias()).order_by("-id")[:limit])


def task_summary() -> list[TaskSummary]:
    """One row a task and queue, since rollups are kept (by default for years).

    Raises:
        NotRecorded: `records="off"`.
    """
    refuse_without_records(policy())
    return stats.summary(records_alias())


def task_stats(
    since: datetime, until: datetime | None = None, *, task: str = "", queue: str = "", grain: Grain | None = None
) -> list[TaskStats]:
    """Counts and percentiles of a span of time, one row a task and queue, without reading a single record.

    Parameters:
        since: the start, rounded down to the minute (for spans up to 6 hours), hour (up to 14 days) or day.
        until: the end; None: now.
        task, queue: only of this one; "": of all.
        grain: read these rollups, and round to them; coarser ones are fewer.

    Raises:
        NotRecorded: `records="off"`.
    """
    refuse_without_records(policy())
    return stats.by_task(records_alias(), since, until, task=task, queue=queue, grain=grain)


def throughput(since: datetime, until: datetime | None = None, *, task: str = "", queue: str = "") -> list[Span]:
    """The same over all tasks as a series of spans, oldest first, for a chart; spans in which nothing ran are left out.

    Raises:
        NotRecorded: `records="off"`.
    """
    refuse_without_records(policy())
    return stats.series(records_alias(), since, until, task=task, queue=queue)


def records_dropped() -> int:
    """How many records were never written, because the database was too slow or away for too long."""
    return stats.dropped(records_alias())
