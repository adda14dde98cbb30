"""Background tasks in the tests of a project: what was sent, run here and now, delays without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Message

from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.contract import DeadFilter, DeadLetterInfo, FollowUp
from django_cfg.tasks.brokers.endings import FINDABLE
from django_cfg.tasks.models import OutboxMessage
from django_cfg.tasks.worker.engine_worker import EngineWorker
from django_cfg.tasks.worker.inline import InlineWorker
from django_cfg.testing.memory import Errors, MemoryBroker, in_place_of_the_projects, memory_broker

if TYPE_CHECKING:
    from django_cfg.tasks.compat import AnyTask

#: More runs than this in one call are taken for tasks that send each other for ever.
MOST_RUNS = 10_000
#: How much time may go by between `using(run_after=...)` and `enqueue()` in a test that asserts the delay.
MOMENT_MS = 1000
#: And how much longer than until its moment a task waits, so that no clock of whole milliseconds starts it before.
MOST_TOO_LONG_MS = 2
EVERYTHING = DeadFilter(everything=True)


class TaskFailed(AssertionError):
    """A task became a dead letter in a test that did not expect it. Its cause is the task's own exception."""


class TaskKit:
    """The background tasks of one test, on a broker in memory. Made by `task_kit()`.

    Attributes:
        broker: the broker that stands in for the project's.
    """

    def __init__(self, broker: MemoryBroker, errors: Errors) -> None:
        self.broker = broker
        self._errors = errors
        self._shown: set[str] = set()
        self._is_running = False

    # -- what was sent ---------------------------------------------------------------------------------

    @property
    def sent(self) -> list[Message[Any]]:
        """Every message of this test, in order: accepted ones, then those that wait for the commit of the open
        transaction. One whose transaction was rolled back was never sent."""
        return [item.message for item in self._sent()]

    @property
    def waiting_for_commit(self) -> list[Message[Any]]:
        """Sent inside `transaction.atomic()`, and held back until its commit."""
        return [item.message for item in self._held_back()]

    def _sent(self) -> list[FollowUp]:
        return [*self.broker.accepted, *self._held_back()]

    def _held_back(self) -> list[FollowUp]:
        return [FollowUp(codec.decode(row.body), row.delay_ms) for row in self._rows()]

    def _rows(self) -> list[OutboxMessage]:
        """The outbox is a table of the test's transaction, so what was rolled back is gone from it. Only databases
        that were written to are asked: a test may forbid the others."""
        accepted = {item.message.message_id for item in self.broker.accepted}
        held = {key: alias for key, alias in self.broker.noted.items() if alias and key not in accepted}
        found: list[OutboxMessage] = []
        for alias in sorted(set(held.values())):
            ids = [key for key, of in held.items() if of == alias]
            found += OutboxMessage.objects.using(alias).filter(message_id__in=ids).order_by("pk")
        return found

    def assert_enqueued(
        self,
        task: Actor[Any, Any] | AnyTask | str,
        *,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        queue: str | None = None,
        delay: float | timedelta | None = None,
        times: int | None = None,
    ) -> list[Message[Any]]:
        """Fail unless the task was sent; a send counts if its transaction is committed or still open.

        Parameters:
            task: an actor, a Django task, or the name of one.
            args, kwargs, queue: what it was sent with; None: anything.
            delay: milliseconds or a timedelta; 0 asserts that there was none. Of a Django task with `run_after` the
                time until then, within a second.
            times: exactly so often; None: at least once.

        Returns:
            The messages.
        """
        name = _name_of(task)
        same = [item for item in self._sent() if item.message.actor_name == name]
        found = [item.message for item in same if _fits(item, args, kwargs, queue, delay)]
        if (times is None and not found) or (times is not None and len(found) != times):
            raise AssertionError(self._complaint(name, same, len(found), times))
        return found

    def assert_not_enqueued(self, task: Actor[Any, Any] | AnyTask | str, **given: Any) -> None:
        """Fail if the task was sent like this; takes what `assert_enqueued` takes."""
        self.assert_enqueued(task, times=0, **given)

    def _complaint(self, name: str, same: list[FollowUp], found: int, times: int | None) -> str:
        wanted = "at least one" if times is None else str(times)
        text = f"expected {wanted} fitting send of {name}, got {found}"
        if same:
            lines = [f"  {_call(item)}" for item in same]
            return "\n".join([f"{text}; its sends were:", *lines])
        others = sorted({item.message.actor_name for item in self._sent()})
        return f"{text}; it was not sent at all; sent were: {', '.join(others) or 'nothing'}"

    # -- running ---------------------------------------------------------------------------------------

    def run(self, *, max_runs: int = MOST_RUNS, expect_failures: bool = False) -> int:
        """Run everything that is ready, in this thread and transaction, as a worker would; returns the runs.

        An open transaction counts as committed. Delayed messages and retries stay until `travel`.

        Raises:
            TaskFailed: a task became a dead letter, unless `expect_failures`; its cause is the task's exception.
            AssertionError: there were `max_runs` runs and still something to do.
        """
        if self._is_running:
            return 0  # a task that sends in eager mode: the run around it goes on with that
        self._is_running = True
        try:
            return self._run(max_runs, expect_failures)
        finally:
            self._is_running = False

    def _run(self, max_runs: int, expect_failures: bool) -> int:
        self._publish()
        done = InlineWorker(self.broker).run(self._queues(), max_runs)
        while done < max_runs and self._rows():  # what the tasks sent inside transactions of their own
            self._publish()
            done += InlineWorker(self.broker).run(self._queues(), max_runs - done)
        if not expect_failures:
            self.raise_failures()
        if done >= max_runs and self.broker.until_next_due_s() == 0:
            raise AssertionError(f"{done} runs and no end; still to do: {_names(self.broker.unfinished())}")
        return done

    def run_all(self, *, max_runs: int = MOST_RUNS, expect_failures: bool = False) -> int:
        """Run until nothing is left, travelling to each delayed message and each retry; returns the runs."""
        done = self.run(max_runs=max_runs, expect_failures=expect_failures)
        while (wait_s := self.broker.until_next_due_s()) is not None:
            self.travel(wait_s + 0.001)
            done += self.run(max_runs=max_runs - done, expect_failures=expect_failures)
            if done >= max_runs:
                raise AssertionError(f"{done} runs and no end; still to do: {_names(self.broker.unfinished())}")
        return done

    def travel(self, span: float | timedelta) -> None:
        """Move the broker's clock forward, by seconds or a timedelta; nothing sleeps. `run` runs what is due then."""
        self.broker.travel(span.total_seconds() if isinstance(span, timedelta) else span)

    def _publish(self) -> None:
        for row in self._rows():
            self.broker.store([FollowUp(codec.decode(row.body), row.delay_ms)])
            row.delete()

    def _queues(self) -> list[str]:
        return sorted({*self.broker.queues, *(stats.queue for stats in self.broker.queue_stats())})

    @contextmanager
    def eager(self) -> Iterator[None]:
        """While the block runs, a task runs as soon as it is accepted: at `.send()`, or at the commit.

        Delayed messages wait for `travel` and `run`. A failure is raised where the task was sent.
        """
        before, self.broker.on_accepted = self.broker.on_accepted, self.run
        try:
            yield
        finally:
            self.broker.on_accepted = before

    @contextmanager
    def worker(
        self, *, threads: int = 2, stop_within_s: float = 5.0, expect_failures: bool = False
    ) -> Iterator[Worker]:
        """A worker with threads of its own, as in production. Ends with the block, whatever its tasks do.

        The threads have database connections of their own: use `TransactionTestCase`, or `transactional_db`.

        Raises:
            TaskFailed: a task became a dead letter, unless `expect_failures`.
        """
        engine = EngineWorker(self.broker, worker_threads=threads)
        self.broker.emit_after("process_boot")
        engine.start()
        try:
            yield Worker(self, engine)
        finally:
            engine.stop(timeout=round(stop_within_s * 1000))
        if not expect_failures:
            self.raise_failures()

    # -- failures --------------------------------------------------------------------------------------

    @property
    def failures(self) -> list[DeadLetterInfo]:
        """The dead letters of this test, oldest first."""
        return self.broker.dead_letters(EVERYTHING, 1000)[::-1]

    def raise_failures(self) -> None:
        """Raise the first dead letter that was not raised yet."""
        new = [letter for letter in self.failures if letter.message_id not in self._shown]
        if not new:
            return
        self._shown |= {letter.message_id for letter in new}
        first = new[0]
        more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
        text = f"task {first.task} became a dead letter after {first.attempts} attempts: {first.reason}{more}"
        raise TaskFailed(text) from self._errors.by_id.get(first.message_id)


class Worker:
    """A worker of a test, and a way to wait for it."""

    def __init__(self, kit: TaskKit, engine: EngineWorker) -> None:
        self._kit, self.engine = kit, engine

    def join(self, within_s: float = 10.0) -> None:
        """Wait until nothing is ready and nothing runs; delayed messages do not count.

        Raises:
            AssertionError: it took longer; names what still waits or runs.
            TaskFailed: a task became a dead letter.
        """
        deadline = time.monotonic() + within_s
        while not self._is_idle():
            if time.monotonic() > deadline:
                left = _names(self._kit.broker.unfinished())
                raise AssertionError(f"not idle within {within_s} s; still to do: {left}")
            time.sleep(0.005)
        self._kit.raise_failures()

    def _is_idle(self) -> bool:
        busy = [stats for stats in self._kit.broker.queue_stats() if stats.pending or stats.running]
        return not busy and self.engine.exchange.is_idle


@contextmanager
def task_kit() -> Iterator[TaskKit]:
    """A kit, and the project's tasks on its broker, while the block runs."""
    errors = Errors()
    broker = memory_broker(errors)
    with in_place_of_the_projects(broker):
        yield TaskKit(broker, errors)


def _name_of(task: Actor[Any, Any] | AnyTask | str) -> str:
    if isinstance(task, str):
        return task
    name: str = task.actor_name if isinstance(task, Actor) else task.module_path
    return name


def _fits(
    item: FollowUp,
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
    queue: str | None,
    delay: float | timedelta | None,
) -> bool:
    message = item.message
    wanted_ms = delay.total_seconds() * 1000 if isinstance(delay, timedelta) else delay
    checks: list[Callable[[], bool]] = [
        lambda: args is None or list(message.args) == list(args),
        lambda: kwargs is None or message.kwargs == kwargs,
        lambda: queue is None or message.queue_name == queue,
        lambda: wanted_ms is None or _is_as_long(item, wanted_ms),
    ]
    return all(check() for check in checks)


def _is_as_long(item: FollowUp, wanted_ms: float) -> bool:
    """To the millisecond; a Django task waits for a moment, which was a little further when somebody wrote it down."""
    declared = item.message.options.get(FINDABLE)
    has_moment = isinstance(declared, dict) and "run_after" in declared
    short_ms = round(wanted_ms) - round(item.delay_ms)
    return -MOST_TOO_LONG_MS <= short_ms < MOMENT_MS if has_moment else short_ms == 0


def _call(item: FollowUp) -> str:
    message = item.message
    given = [*(repr(value) for value in message.args), *(f"{k}={v!r}" for k, v in message.kwargs.items())]
    delay = f" delayed by {item.delay_ms:.0f} ms" if item.delay_ms else ""
    return f"{message.actor_name}({', '.join(given)}) on {message.queue_name}{delay}"


def _names(messages: list[Message[Any]]) -> str:
    return ", ".join(sorted({message.actor_name for message in messages})) or "nothing"
