"""Log handlers of a worker run in a thread of their own: a reader that has stopped reading stops no task."""

from __future__ import annotations

import copy
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import QueueHandler

from django_cfg.tasks.log.context import TaskContext
from django_cfg.tasks.log.formats import with_task
from django_cfg.tasks.log.patient import PatientStream

#: Lines that wait to be written; above that they are dropped, counted, and reported.
MOST_WAITING = 5_000
LAST_WORDS_S = 1.0
Work = tuple[logging.LogRecord, Sequence[logging.Handler]]


class Writer(threading.Thread):
    """Hands records to the handlers that they were meant for."""

    def __init__(self, size: int = MOST_WAITING) -> None:
        super().__init__(name="log", daemon=True)
        self._queue: queue.Queue[Work | None] = queue.Queue(size)
        self._dropped = 0
        self._lock = threading.Lock()

    def put(self, record: logging.LogRecord, handlers: Sequence[logging.Handler]) -> None:
        try:
            self._queue.put_nowait((record, handlers))
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def run(self) -> None:
        while (work := self._queue.get()) is not None:
            record, handlers = work
            self._report(record, handlers)
            _hand_over(record, handlers)

    def _report(self, record: logging.LogRecord, handlers: Sequence[logging.Handler]) -> None:
        """Say that lines are missing, where they are missing."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            text = f"{dropped} log lines were dropped: they were not read, or not written, fast enough."
            news = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
            _hand_over(news, handlers)

    def finish(self, within_s: float = LAST_WORDS_S) -> bool:
        """Write what waits and end; False if it could not be written in time."""
        deadline = time.monotonic() + within_s
        try:
            self._queue.put(None, timeout=within_s)
        except queue.Full:
            return False
        self.join(max(0.0, deadline - time.monotonic()))
        return not self.is_alive()


def _hand_over(record: logging.LogRecord, handlers: Sequence[logging.Handler]) -> None:
    for handler in handlers:
        if record.levelno >= handler.level:
            handler.handle(with_task(record, handler.formatter))


class BoundedQueueHandler(QueueHandler):
    """Takes a record in the thread that logs, with its task, and never waits."""

    def __init__(self, writer: Writer, handlers: Sequence[logging.Handler]) -> None:
        super().__init__(writer)  # type: ignore[arg-type]  # only `enqueue` uses it, and that is ours
        self._writer = writer
        self._handlers = handlers
        self.addFilter(TaskContext())

    def enqueue(self, record: logging.LogRecord) -> None:
        self._writer.put(record, self._handlers)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The words as they are now: arguments may change, and tracebacks keep frames alive."""
        made = copy.copy(record)
        made.msg, made.args = record.getMessage(), None
        if record.exc_info and not record.exc_text:
            made.exc_text = logging.Formatter().formatException(record.exc_info)
        made.exc_info = None
        return made


@contextmanager
def apart(size: int = MOST_WAITING) -> Iterator[Writer]:
    """While the block runs, the handlers of all loggers run in the writer's thread. Not undone if it hangs."""
    writer = Writer(size)
    writer.start()
    before = {logger: list(logger.handlers) for logger in _loggers() if logger.handlers}
    for logger, handlers in before.items():
        logger.handlers = [BoundedQueueHandler(writer, [_original(handler) for handler in handlers])]
    try:
        yield writer
    finally:
        if writer.finish():
            for logger, handlers in before.items():
                logger.handlers = handlers


def _original(handler: logging.Handler) -> logging.Handler:
    return handler.original if isinstance(handler, PatientStream) else handler


def _loggers() -> list[logging.Logger]:
    found = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    return [logging.getLogger(), *found]
