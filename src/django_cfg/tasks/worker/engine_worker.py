"""A worker process's inside: Dramatiq's Worker with our exchange thread and our task threads."""

from __future__ import annotations

import time
from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import Any

from dramatiq import Worker
from dramatiq.common import join_all
from dramatiq.middleware import AsyncIO
from dramatiq.worker import _WorkerMiddleware

from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.collector import as_stored
from django_cfg.tasks.brokers.contract import Claim, Outcome
from django_cfg.tasks.brokers.endings import ended_badly
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.middleware.event_loop import EventLoop
from django_cfg.tasks.worker.backlog import Backlog
from django_cfg.tasks.worker.exchange import ExchangeThread, released
from django_cfg.tasks.worker.ledger import Ledger
from django_cfg.tasks.worker.threads import EngineThread

LAST_WORDS_S = 5.0


class EngineWorker(Worker):
    """Runs tasks of a broker of ours in this process.

    Parameters:
        queues: what to serve; None: every declared queue.
        worker_threads: how many tasks run at once.
        ledger: see `ExchangeThread`.
    """

    broker: EngineBroker

    def __init__(
        self,
        broker: EngineBroker,
        *,
        queues: Iterable[str] | None = None,
        worker_threads: int = 8,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(broker, queues=set(queues) if queues else None, worker_threads=worker_threads)
        self._backlog = Backlog()
        self.exchange = ExchangeThread(broker, self._backlog, worker_threads, ledger)
        self._is_stopped = False

    def start(self) -> None:
        self._add_event_loop()
        for queue in self.consumer_whitelist or ():
            self.broker.declare_queue(queue)  # no task may name it, only a send
        super().start()
        self.exchange.start()

    def _add_event_loop(self) -> None:
        """Async tasks need an event loop thread, which the usual middleware lists do not name."""
        has_async = any(iscoroutinefunction(_inner(actor.fn)) for actor in self.broker.actors.values())
        if has_async and not any(isinstance(m, AsyncIO) for m in self.broker.middleware):
            self.broker.add_middleware(EventLoop())

    def _add_consumer(self, queue_name: str, *, delay: bool = False) -> None:
        """The exchange thread serves every queue; it stands in `consumers` for each of them."""
        if queue_name in self.consumers or (self.consumer_whitelist and queue_name not in self.consumer_whitelist):
            return
        consumers: dict[str, Any] = self.consumers
        consumers[queue_name] = self.exchange
        self.exchange.queues.append(queue_name)

    def _add_worker(self) -> None:
        thread = EngineThread(self.broker, self._backlog, self.exchange)
        thread.start()
        self.workers.append(thread)

    def pause(self) -> None:
        """Claim nothing more; what was claimed still runs."""
        self.exchange.stop_claiming()

    def resume(self) -> None:
        self.exchange.start_claiming()

    def drain(self) -> None:
        """Claim nothing more and give back at once what has not started; what runs may take its time."""
        self.exchange.stop_claiming()
        for claim in self._backlog.close():
            self.exchange.put(released(claim, "not started"))

    @property
    def is_drained(self) -> bool:
        """Every task that ran has ended and the broker knows it."""
        return self.exchange.is_idle and not self._backlog.running

    def stop(self, timeout: int = 600_000) -> None:
        """Stop gracefully: no new claims, unstarted ones go back at once, running tasks get `timeout` ms.

        What still runs then is given back as interrupted (no retry is used up); should it end after all, its
        outcome is refused.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        self.exchange.stop_claiming()
        self.broker.emit_before("worker_shutdown", self)
        self.drain()
        join_all(self.workers, timeout)
        self._interrupt_running()
        self.exchange.finish(LAST_WORDS_S)
        self.exchange.join(LAST_WORDS_S + 1)
        self.broker.emit_after("worker_shutdown", self)
        self._detach()

    def _interrupt_running(self) -> None:
        still_running = [w for w in self.workers if w.is_alive()]
        if not still_running:
            return
        self.logger.warning("%d tasks did not end in time and are given back.", len(still_running))
        for claim in self.exchange.unsettled():
            self.exchange.put(self._interrupted(claim))

    def _interrupted(self, claim: Claim) -> Outcome:
        if self.broker.option_of(claim.message.actor_name, "on_lost") != "dead_letter":
            return released(claim, "interrupted", started=True)
        reason = "interrupted by the stop of its worker"
        return Outcome(claim, Kind.DEAD, as_stored(claim), result=ended_badly(reason), reason=reason)

    def _detach(self) -> None:
        """Dramatiq adds a middleware for each worker; left behind, it would feed queues to a dead one."""
        kept = [m for m in self.broker.middleware if not (isinstance(m, _WorkerMiddleware) and m.worker is self)]
        self.broker.middleware[:] = kept
        self.broker.forget_hooks()

    def join(self) -> None:
        """Wait until nothing that was claimed is unfinished; for tests."""
        while not self.is_drained:
            time.sleep(0.005)


def _inner(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)
