"""Task threads: take a claim, run hooks and task, hand over one outcome."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.logging import get_logger
from dramatiq.middleware import SkipMessage
from dramatiq.worker import WorkerThread

from django_cfg.errors import TaskCancelled
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.collector import Collector, as_stored, secrets_of
from django_cfg.tasks.brokers.contract import Claim, ClaimedMessage, Outcome
from django_cfg.tasks.lifecycle import CANCELLED
from django_cfg.tasks.log import hiding
from django_cfg.tasks.middleware.interrupts import TaskSlot
from django_cfg.tasks.records import cancelling
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.tasks.worker.exchange import ExchangeThread, released, unmanageable

if TYPE_CHECKING:
    from dramatiq import Actor


class EngineThread(WorkerThread):
    """One thread that runs tasks. It does no I/O of its own.

    Attributes:
        current: what it runs; None while it waits.
    """

    broker: EngineBroker
    current: ClaimedMessage | None

    def __init__(self, broker: EngineBroker, backlog: Backlog, exchange: ExchangeThread) -> None:
        threading.Thread.__init__(self, daemon=True)
        self.logger = get_logger(__name__, type(self))
        self.broker = broker
        self.running = False
        self.paused = False
        self.paused_event = threading.Event()
        self.current = None
        self._backlog = backlog
        self._exchange = exchange
        self._slot: TaskSlot | None = None

    def run(self) -> None:
        self.running = True
        self._slot = TaskSlot()
        self.broker.emit_after("worker_thread_boot", self)
        while (message := self._backlog.take()) is not None:
            try:
                self.process_message(message)
            except BaseException as error:  # a thread that ended would not be replaced
                self.logger.critical("Message %s broke its worker thread's loop.", message.message_id, exc_info=True)
                self._exchange.put(unmanageable(message.claim, error))
            finally:
                self._backlog.done(message.claim)
        self.broker.emit_before("worker_thread_shutdown", self)
        self._slot.close()
        self.running = False

    def process_message(self, message: Any) -> None:
        """Run one claim to its outcome, with hooks in Dramatiq's order."""
        if not self._exchange.may_start():
            self._exchange.put(released(message.claim, "lease about to end"))
            return
        self._exchange.ledger.started(message.claim, self.broker.hard_limit_s_of(message.actor_name))
        collector = self.broker.begin(message.claim)
        collector.wait_ms = waited_ms(message.claim)
        message.since, self.current = time.monotonic(), message
        skipped = False
        try:
            skipped = self._run_hooks_and_task(message, collector)
        finally:
            self._emit_verdict(message)
            error = message._exception
            outcome = collector.outcome(failed=message.failed, skipped=skipped, error=error)
            if was_cancelled(message, error):
                outcome = released(message.claim, CANCELLED, started=True)
            self.broker.end()
            self.current, message.is_over = None, True
            self._hand_over(outcome)
            message.clear_exception()  # a kept traceback would keep the task's frames alive

    def _emit_verdict(self, message: ClaimedMessage) -> None:
        signal = "nack" if message.failed else "ack"
        self.broker.emit_before(signal, message)
        self.broker.emit_after(signal, message)

    def _hand_over(self, outcome: Outcome) -> None:
        self._exchange.put(outcome)

    def _run_hooks_and_task(self, message: ClaimedMessage, collector: Collector) -> bool:
        """Returns whether a hook skipped the task."""
        actor: Actor[Any, Any] | None = None
        try:
            self.broker.emit_before_task(message, collector)
            result = None
            if not message.failed:
                actor = self.broker.get_actor(message.actor_name)
                result = self._call(actor, message, collector)
            self.broker.emit_after_task(message, collector, result)
        except SkipMessage as error:
            self._leave()
            if message.failed:
                message.stuff_exception(error)
            self.logger.warning("Message %s was skipped: %s", message.message_id, error)
            self.broker.emit_after("skip_message", message)
            return True
        except BaseException as error:  # noqa: BLE001 - the outermost frame of a task; even SystemExit ends only it
            self._leave()
            message.stuff_exception(error)
            self._log(message, actor, error)
            self.broker.emit_after("process_message", message, exception=error)
        return False

    def _call(self, actor: Actor[Any, Any], message: ClaimedMessage, collector: Collector) -> Any:
        if self._slot is not None:
            self._slot.enter()
        began = time.perf_counter()
        try:
            return actor(*message.args, **message.kwargs)
        finally:
            self._leave()
            collector.run_ms = (time.perf_counter() - began) * 1000

    def _leave(self) -> None:
        if self._slot is not None:
            self._slot.leave()

    def _log(self, message: ClaimedMessage, actor: Actor[Any, Any] | None, error: BaseException) -> None:
        """Task and id, never the arguments: they may hold secrets."""
        throws = message.options.get("throws") or (actor.options.get("throws") if actor else None)
        if message.run is not None:
            return  # its own framework writes the line
        name = (message.actor_name, message.message_id)
        if isinstance(error, Retry):
            return
        if was_cancelled(message, error):
            self.logger.info("Task %s %s was cancelled by an operator and has stopped.", *name)
            return
        if isinstance(error, RateLimitExceeded):
            self.logger.debug("Rate limit exceeded in %s %s: %s", *name, error)
        elif throws and isinstance(error, throws):
            self.logger.info("Task %s %s ended with its expected %s.", *name, type(error).__name__)
        else:
            secrets = secrets_of(as_stored(message.claim), actor)
            hiding.write(self.logger, "Task %s %s failed.", *name, error=error, secrets=secrets)


def was_cancelled(message: ClaimedMessage, error: BaseException | None) -> bool:
    """Whether the task stopped because it was asked to. The broker ends a cancelled message that is given back."""
    return isinstance(error, TaskCancelled) and cancelling.is_requested(message.message_id)


def waited_ms(claim: Claim) -> float:
    """From when its message could run until now."""
    return claim.waited_ms + (time.monotonic() - claim.received_at) * 1000
