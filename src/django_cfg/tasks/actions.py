"""WRITE: what operators do to tasks. Commands, pages and the service call these and nothing below.

Each act leaves one row of `OperatorAction`, also when it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from operator import add
from typing import Any, NamedTuple

from dramatiq import Message

from django_cfg.errors import TaskError
from django_cfg.tasks import queries, upkeep
from django_cfg.tasks.audit import Act, Operator, audited, local_operator
from django_cfg.tasks.brokers.actor import EngineActor
from django_cfg.tasks.brokers.contract import DeadFilter
from django_cfg.tasks.conf import records_alias
from django_cfg.tasks.cron.due import moment_of
from django_cfg.tasks.cron.operate import Backfilled
from django_cfg.tasks.cron.operate import Operator as Schedules
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.privacy import scrubbed
from django_cfg.tasks.records.filter import TaskFilter
from django_cfg.tasks.records.policy import Policy
from django_cfg.tasks.records.reading import dead_ids, every
from django_cfg.units import s_to_ms


def retry_failed(only: DeadFilter, *, spread_s: float = 0, by: Operator | None = None) -> int:
    """Give dead letters a fresh life, at random moments within `spread_s` seconds; returns how many."""
    with audited("retry", words(only), by) as act:
        act.affected = queries.broker().retry_dead(only, spread_ms=s_to_ms(spread_s))
        _told(upkeep.after_retry, only)
    return act.affected


def clear_failed(only: DeadFilter, *, by: Operator | None = None) -> int:
    """Delete dead letters for good; returns how many."""
    with audited("discard", words(only), by) as act:
        act.affected = queries.broker().clear_dead(only)
        _told(upkeep.after_clear, only)
    return act.affected


def retry_matching(only: TaskFilter, *, spread_s: float = 0, by: Operator | None = None) -> int:
    """Give the dead letters among the records that match a fresh life; returns how many."""
    with audited("retry", only, by) as act:
        for chosen in _letters_among(only):
            act.affected += queries.broker().retry_dead(chosen, spread_ms=s_to_ms(spread_s))
            upkeep.after_retry(chosen)
    return act.affected


def clear_matching(only: TaskFilter, *, by: Operator | None = None) -> int:
    """Delete the dead letters among the records that match; returns how many."""
    with audited("discard", only, by) as act:
        for chosen in _letters_among(only):
            act.affected += queries.broker().clear_dead(chosen)
            upkeep.after_clear(chosen)
    return act.affected


def _letters_among(only: TaskFilter) -> Iterator[DeadFilter]:
    """In chunks; read whole before anything is done, because what is done changes what matches."""
    is_meant = not only.states or State.DEAD_LETTER in only.states
    letters = every(records_alias(), replace(only, states=(State.DEAD_LETTER,))) if is_meant else iter(())
    ids = [record.message_id for record in letters]
    for start in range(0, len(ids), upkeep.CHUNK):
        yield DeadFilter(message_ids=tuple(ids[start : start + upkeep.CHUNK]))


def retry_group(fingerprint: str, *, spread_s: float = 0, by: Operator | None = None) -> int:
    """Give the dead letters of one group of failures a fresh life; returns how many."""
    with audited("retry", f"failure {fingerprint}", by) as act:
        for only in _of_group(fingerprint):
            act.affected += queries.broker().retry_dead(only, spread_ms=s_to_ms(spread_s))
            upkeep.after_retry(only)
    return act.affected


def clear_group(fingerprint: str, *, by: Operator | None = None) -> int:
    """Delete the dead letters of one group of failures for good; returns how many."""
    with audited("discard", f"failure {fingerprint}", by) as act:
        for only in _of_group(fingerprint):
            act.affected += queries.broker().clear_dead(only)
            upkeep.after_clear(only)
    return act.affected


def _of_group(fingerprint: str) -> Iterable[DeadFilter]:
    """Chunks until a chunk is the one before: what stays dead must not be tried for ever."""
    before: list[str] = []
    while (found := dead_ids(records_alias(), fingerprint)) and found != before:
        yield DeadFilter(message_ids=tuple(found))
        before = found


class Cancelled(NamedTuple):
    """What became of tasks that were to be cancelled.

    Attributes:
        taken: they waited, and are gone.
        asked: they run, and were asked to stop; `current_task().is_cancelled` tells them.
    """

    taken: int = 0
    asked: int = 0


def cancel(message_id: str, *, by: Operator | None = None) -> bool:
    """Take a waiting task away; False if it is unknown, or runs already and was asked to stop."""
    return cancel_many([message_id], by=by).taken == 1


def cancel_many(message_ids: Sequence[str], *, by: Operator | None = None) -> Cancelled:
    """Take waiting tasks away, and ask those that run to stop. Unknown ones are left alone."""
    done = Cancelled()
    with audited("cancel", ", ".join(message_ids), by) as act:
        for message_id in message_ids:
            done = Cancelled(*map(add, done, _cancel(message_id)))
            act.affected = sum(done)
    return done


def cancelled_in_words(done: Cancelled, wanted: int) -> str:
    """What an operator is told; a broker that finds no message cannot know what it has done."""
    if not queries.broker().supports_find:
        return (
            f"Noted for {done.taken} of {wanted} tasks: a worker drops those that it gets. "
            "Whether they wait, run or have ended, this broker cannot tell."
        )
    asked = f" {done.asked} run and were asked to stop." if done.asked else ""
    return f"Cancelled {done.taken} of {wanted} tasks.{asked}"


def _cancel(message_id: str) -> Cancelled:
    broker = queries.broker()
    ran = _runs(message_id)  # it may stop, or start, before anybody can look again
    if broker.cancel(message_id):
        _told(partial(upkeep.after_cancel, may_run=not broker.supports_find), message_id)
        return Cancelled(taken=1)
    return Cancelled(asked=int(ran or _runs(message_id)))


def _runs(message_id: str) -> bool:
    found = queries.broker().whereabouts(message_id)
    return found is not None and found.state is State.RUNNING


def pause(queue: str, *, by: Operator | None = None) -> None:
    """Start nothing more from a queue until it is resumed."""
    with audited("pause", f"queue {queue}", by) as act:
        queries.broker().pause(queue)
        act.affected = 1


def resume(queue: str, *, by: Operator | None = None) -> None:
    """End a pause."""
    with audited("resume", f"queue {queue}", by) as act:
        queries.broker().resume(queue)
        act.affected = 1


def enqueue(
    task: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    delay: Any = None,
    by: Operator | None = None,
    **options: Any,
) -> Message[Any]:
    """Send a declared task by its name.

    Parameters:
        delay: milliseconds, a timedelta or an aware datetime.
        options: as `send_with_options` takes them.

    Raises:
        TaskError: no task of this name is declared, or the message is refused.
    """
    with audited("enqueue", task, by) as act:
        actor = queries.actor(task)
        if actor is None:
            known = ", ".join(sorted(queries.broker().actors)) or "none"
            raise TaskError(f"no task is named {task!r}; declared: {known}")
        sent = actor.send_with_options(args=tuple(args), kwargs=dict(kwargs or {}), delay=delay, **options)
        act.affected = 1
        act.detail.append(sent.message_id)
    return sent


def enqueue_again(message_id: str, *, by: Operator | None = None) -> Message[Any]:
    """Send a copy of a dead letter as a task of its own, with the same arguments; the letter stays.

    Raises:
        TaskError: no dead letter has this id, or it cannot be read.
    """
    with audited("enqueue", f"again {message_id}", by) as act:
        letters = queries.broker().dead_letters(DeadFilter(message_ids=(message_id,)), 1)
        message = letters[0].message if letters else None
        if message is None:
            raise TaskError(f"no readable dead letter has the id {message_id!r}")
        actor = queries.actor(message.actor_name)
        ours = actor if isinstance(actor, EngineActor) else None
        copy: Message[Any] = Message(
            queue_name=message.queue_name,
            actor_name=message.actor_name,
            args=message.args,
            kwargs=message.kwargs,
            options={**(ours.copy_options(message) if ours else {}), "retry_of": message_id},
        )
        sent = ours.dispatch(copy) if ours else queries.broker().enqueue(copy)
        act.affected = 1
        act.detail.append(sent.message_id)
    return sent


def pause_schedule(name: str, note: str = "", *, by: Operator | None = None) -> None:
    """Enqueue no ticks of a schedule until it is resumed.

    Raises:
        CronError: there is no such schedule.
    """
    with _scheduling("pause", name, by) as (schedules, act):
        schedules.pause(name, note)
        act.detail.extend([note] if note else [])


def resume_schedule(name: str, *, by: Operator | None = None) -> None:
    """End the pause of a schedule; what was due meanwhile is skipped.

    Raises:
        CronError: there is no such schedule.
    """
    with _scheduling("resume", name, by) as (schedules, _):
        schedules.resume(name)


def run_schedule(name: str, *, by: Operator | None = None) -> str:
    """Enqueue the task of a schedule now; returns the message id.

    Raises:
        CronError: there is no such schedule.
    """
    with _scheduling("run", name, by) as (schedules, act):
        sent = schedules.run_now(name)
        act.detail.append(sent)
    return sent


def backfill_schedule(
    name: str, from_ms: int, until_ms: int, *, dry_run: bool = False, by: Operator | None = None
) -> Backfilled:
    """Enqueue the ticks of a time that were not enqueued.

    Parameters:
        dry_run: only count; that is no act and leaves no row.

    Raises:
        CronError: there is no such schedule, or more than 1,000 ticks.
    """
    if dry_run:
        return _schedules("").backfill(name, from_ms, until_ms, dry_run=True)
    with _scheduling("backfill", name, by) as (schedules, act):
        done = schedules.backfill(name, from_ms, until_ms)
        act.affected = done.enqueued
        act.detail.append(f"from {moment_of(from_ms).isoformat()} to {moment_of(until_ms).isoformat()}")
    return done


def override_schedule(name: str, keys: Mapping[str, Any], *, by: Operator | None = None) -> None:
    """Change keys of a schedule of the code, until it is reset.

    Raises:
        CronError: there is no such schedule, or the result would be wrong.
    """
    with _scheduling("override", name, by) as (schedules, act):
        schedules.override(name, keys)
        act.detail.append(", ".join(sorted(keys)))


def reset_schedule(name: str, *, by: Operator | None = None) -> None:
    """Take back every override of a schedule.

    Raises:
        CronError: there is no such schedule.
    """
    with _scheduling("reset", name, by) as (schedules, _):
        schedules.reset(name)


def define_schedule(definition: Mapping[str, Any], *, by: Operator | None = None) -> None:
    """Make a schedule of the operator's own, or change it.

    Raises:
        CronError: the definition is wrong, or its name is one of the code's.
    """
    with _scheduling("define", str(definition.get("name", "")), by) as (schedules, _):
        schedules.define(definition)


def delete_schedule(name: str, *, by: Operator | None = None) -> None:
    """Delete a schedule of an operator, or what is left of one that the code has no more.

    Raises:
        CronError: there is no such schedule, or the code still declares it.
    """
    with _scheduling("delete", name, by) as (schedules, _):
        schedules.delete(name)


def _schedules(by: str) -> Schedules:
    return Schedules(queries.broker(), queries.code_schedules(), by=by)


@contextmanager
def _scheduling(action: str, name: str, by: Operator | None) -> Iterator[tuple[Schedules, Act]]:
    who = by or local_operator()
    with audited(action, f"schedule {name}", who) as act:
        act.affected = 1
        try:
            yield _schedules(who.name), act
        except BaseException:
            act.affected = 0
            raise


def prune(older_than_days: float | None = None, *, by: Operator | None = None) -> upkeep.Pruned:
    """Delete what is kept no longer; see `upkeep.prune`."""
    with audited("prune", "default ages" if older_than_days is None else f"{older_than_days} days", by) as act:
        pruned = upkeep.prune(older_than_days)
        act.affected = pruned.total
    return pruned


def words(only: DeadFilter) -> str:
    """A filter of dead letters in words."""
    given = {f.name: getattr(only, f.name) for f in fields(only) if f.name != "everything"}
    said = [f"{name}={value}" for name, value in given.items() if value not in (None, ())]
    return scrubbed(", ".join(said)) or "everything"


def _told(follow: Callable[[Any], None], what: Any) -> None:
    """Records follow where there are any."""
    if queries.policy() is not Policy.OFF:
        follow(what)
