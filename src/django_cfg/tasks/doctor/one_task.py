"""Why one task does not run, or what became of it."""

from __future__ import annotations

from collections.abc import Iterator

from django_cfg.tasks import conf, queries
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import DeadFilter, Whereabouts
from django_cfg.tasks.brokers.endings import ending
from django_cfg.tasks.brokers.outbox import look
from django_cfg.tasks.brokers.process import identity, is_gone
from django_cfg.tasks.doctor.fact import Fact, fail, ok, unknown, warn
from django_cfg.tasks.doctor.project import START_WORKERS, reaching
from django_cfg.tasks.health import AWAY
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.models import Attempt, TaskRecord
from django_cfg.tasks.worker.roster import WorkerStats
from django_cfg.units import counted, humane, s_to_ms

LONGEST_ERROR = 300


def examine_task(message_id: str) -> list[Fact]:
    """What is known about one task; no fact named `state` means that nobody knows it."""
    broker = queries.broker()
    reached = reaching(broker)
    if reached.finding == "fail":
        return [reached]
    facts = [*_in_broker(broker, message_id)] or [*_among_dead(broker, message_id)] or [*_in_outbox(message_id)]
    facts += _recorded(message_id, is_found=bool(facts))
    return facts or [*_result(broker, message_id)] or [_nobody_knows(broker)]


def _in_broker(broker: EngineBroker, message_id: str) -> Iterator[Fact]:
    where = broker.whereabouts(message_id)
    if where is None:
        return
    yield _state(where)
    if where.task not in broker.actors:
        cure = "deploy the code that has it, or correct the name; after five minutes with a worker it is a dead letter"
        yield fail("task", f"no task is named {where.task!r} in this code", cure)
    yield from (_running if where.state is State.RUNNING else _waiting)(broker, where)
    if where.deliveries:
        limit = broker.max_deliveries_of(where.task)
        text = f"{where.deliveries} of its runs ended with the death of their process (limit {limit})"
        yield warn("deliveries", text, "see the workers' log; one such task at a time runs in a process")


def _state(where: Whereabouts) -> Fact:
    text = f"{where.state.value}: {where.task} on queue {where.queue}, accepted {humane(s_to_ms(where.age_s))} ago"
    if where.due_in_s > 0 and where.state is not State.RUNNING:
        text += f", due in {humane(s_to_ms(where.due_in_s))}"
    return ok("state", text)


def _waiting(broker: EngineBroker, where: Whereabouts) -> Iterator[Fact]:
    """What keeps a task that waits from running."""
    if where.queue in broker.paused_queues():
        yield fail("queue", f"queue {where.queue} is paused", f"actions.resume({where.queue!r})")
    serving = [worker for worker in _workers() if worker.is_alive and where.queue in worker.queues]
    if not serving:
        yield fail("workers", f"no living worker serves queue {where.queue}", f"{START_WORKERS} --queues {where.queue}")
    elif where.state is State.PENDING:
        yield _busy(broker, where, serving)


def _busy(broker: EngineBroker, where: Whereabouts, serving: list[WorkerStats]) -> Fact:
    busy, threads = sum(len(worker.running) for worker in serving), sum(worker.threads for worker in serving)
    ahead = next((stats.pending for stats in broker.queue_stats() if stats.queue == where.queue), 0)
    text = (
        f"{busy} of {threads} threads that serve the queue are busy; {counted(ahead, 'task waits', 'tasks wait')} in it"
    )
    if busy < threads:
        return ok("workers", f"{text}; it should start at once")
    return warn("workers", text, "wait, start more workers, or give slow tasks a queue of their own")


def _running(broker: EngineBroker, where: Whereabouts) -> Iterator[Fact]:
    """Who runs it, and whether that worker still lives."""
    session = where.session
    if session is None:
        return
    process = session.process
    name = f"{process.host}:{process.pid}"
    if is_gone(process, identity()) or session.lease_left_s < 0:
        cure = f"the sweep of any worker gives it to another: {START_WORKERS}"
        yield fail("lease", f"its worker {name} is gone", cure)
        return
    yield ok("lease", f"{name} holds it; the lease is good for {humane(s_to_ms(session.lease_left_s))}")
    for worker in _workers():
        for task in worker.running:
            if task.message_id == where.message_id:
                yield ok("thread", f"thread {task.thread} runs it for {humane(s_to_ms(task.running_s))}")


def _workers() -> list[WorkerStats]:
    try:
        return queries.workers()
    except AWAY:
        return []  # `dramatiq_doctor` without an id says that the registry does not answer


def _among_dead(broker: EngineBroker, message_id: str) -> Iterator[Fact]:
    for letter in broker.dead_letters(DeadFilter(message_ids=(message_id,)), 1):
        text = f"dead letter: {letter.task} on queue {letter.queue}, {letter.reason}: {letter.error[:LONGEST_ERROR]}"
        cure = f"python manage.py dramatiq_retry_failed --id {message_id}"
        yield fail("state", f"{text} (attempts: {letter.attempts}, {humane(s_to_ms(letter.age_s))} ago)", cure)


def _in_outbox(message_id: str) -> Iterator[Fact]:
    """Committed, and not yet with the broker."""
    waiting = look.find(message_id)
    if waiting is None:
        return
    text = f"in the outbox of database {waiting.alias!r}: {waiting.message.actor_name}"
    if waiting.error:
        yield fail(
            "state", f"{text}, cannot be published: {waiting.error[:LONGEST_ERROR]}", "correct it, clear `error`"
        )
    else:
        yield ok("state", f"{text}, on its way to the broker", f"a keeper publishes it: {START_WORKERS}")


def _recorded(message_id: str, *, is_found: bool) -> list[Fact]:
    """What the records add: the end of a task, and its latest failed attempt."""
    try:
        return [*_record(message_id, is_found), *_attempt(message_id)]
    except AWAY as error:
        return [unknown("record", f"the records do not answer: {error}")]


def _record(message_id: str, is_found: bool) -> Iterator[Fact]:
    record = TaskRecord.objects.using(conf.records_alias()).filter(message_id=message_id).first()
    if record is None or is_found:
        return
    ended = f"at {record.finished_at:%Y-%m-%d %H:%M:%S}" if record.finished_at else "without an end"
    yield ok("state", f"{record.state}: {record.task} on queue {record.queue}, {ended}, by {record.worker}")


def _attempt(message_id: str) -> Iterator[Fact]:
    attempts = Attempt.objects.using(conf.records_alias()).filter(message_id=message_id)
    latest = attempts.order_by("-generation", "-fence").first()
    if latest is not None and latest.error_type:
        error = f"{latest.error_type}: {latest.error[:LONGEST_ERROR]}"
        yield ok("latest failure", f"{error} (by {latest.worker} at {latest.ended_at:%Y-%m-%d %H:%M:%S})")


def _result(broker: EngineBroker, message_id: str) -> Iterator[Fact]:
    is_kept, value = broker.load_result(message_id)
    if not is_kept:
        return
    ended = ending(value)
    if ended:
        yield ok("state", f"{ended}: its result is kept; no record of it is")
    else:
        yield ok("state", "waits or runs: which of both, and why, this broker cannot tell of a single task")


def _nobody_knows(broker: EngineBroker) -> Fact:
    text, may_be = "no message, dead letter, record or result has this id", ""
    if not broker.supports_find:
        text = "no dead letter, record or result has this id; whether a message has it, this broker cannot tell"
        may_be = "it waits or runs, "
    return unknown(
        "unknown",
        text,
        f"{may_be}it was rolled back with its transaction, went to another broker_url or prefix, or ended without a "
        "record (TaskConfig.records, record_retention_days)",
    )
