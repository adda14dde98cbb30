"""Ties the recorder to a worker's life, and links of tasks to the messages that they send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections
from dramatiq import Broker, Message, Worker
from dramatiq.middleware import CurrentMessage, Middleware

from django_cfg.tasks.events import outcome_refused, task_settled
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.records import running
from django_cfg.tasks.records.policy import RECORDED, Policy
from django_cfg.tasks.records.recorder import Recorder
from django_cfg.tasks.records.upsert import VENDORS


class Record(Middleware):
    """Keeps records of tasks.

    Parameters:
        policy: which of them.
        alias: the database that keeps them.
    """

    def __init__(self, policy: Policy, alias: str) -> None:
        self.policy = policy
        self.alias = alias
        self._workers: set[int] = set()
        self._recorder: Recorder | None = None
        self._stops: list[Callable[[], None]] = []

    @property
    def notes_every_task(self) -> bool:
        """Whether a task that says nothing has a record while it runs."""
        return State.RUNNING in RECORDED[self.policy]

    @property
    def actor_options(self) -> set[str]:
        """`redact`: a function from shown arguments to what may be kept of them; `tags`: words to find tasks by."""
        return {"redact", "tags"}

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """What a task sends knows its parent."""
        sender = CurrentMessage.get_current_message()
        if sender is not None and sender.message_id != message.message_id:
            message.options.setdefault("parent_id", sender.message_id)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """One recorder a process, however many workers a test runs in it."""
        if not self._workers:
            self.listen(broker)
        self._workers.add(id(worker))

    def listen(self, broker: Broker) -> Callable[[], None]:
        """Record in this process from now on; returns the way to finish."""
        if self.policy is not Policy.OFF and connections[self.alias].vendor in VENDORS:
            self._start(Recorder(self.policy, self.alias, broker.actors))
        return self._finish

    def _start(self, recorder: Recorder) -> None:
        self._recorder = recorder
        recorder.start()
        self._stops = [
            task_settled.subscribe(recorder.put, recorder.count),
            outcome_refused.subscribe(lambda refused: recorder.forget(refused.message_id)),
            recorder.finish,
        ]

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """Where running tasks are recorded, each is noted; else only those that say something."""
        if self.notes_every_task and self._recorder is not None:
            running.note(message)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._workers.discard(id(worker))
        if not self._workers:
            self._finish()

    def _finish(self) -> None:
        for stop in self._stops:
            stop()
        self._stops, self._recorder = [], None
