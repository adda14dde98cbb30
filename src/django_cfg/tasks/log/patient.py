"""Log lines of a process that may start no thread: written when they can be, else dropped and counted."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
from typing import Any, TypeGuard

#: What a pipe that is ready for writing takes without making the writer wait (POSIX, PIPE_BUF).
LONGEST = 4096


class PatientStream(logging.Handler):
    """A StreamHandler's lines to a pipe, socket or terminal that may have no reader."""

    def __init__(self, original: logging.StreamHandler[Any]) -> None:
        super().__init__(original.level)
        self.original = original
        self.filters = original.filters
        self.formatter = original.formatter
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fd = self.original.stream.fileno()
            text = self.format(record)
        except (OSError, ValueError):
            self.handleError(record)
            return
        if self._dropped:
            text = f"{self._dropped} log lines were dropped: nobody read them.\n{text}"
        self._dropped = 0 if self._write(fd, text) else self._dropped + 1

    def _write(self, fd: int, text: str) -> bool:
        _, ready, _ = select.select([], [fd], [], 0)
        if not ready:
            return False
        data = (text + "\n").encode(errors="backslashreplace")
        if len(data) > LONGEST:
            data = data[: LONGEST - 5] + b" ...\n"
        with contextlib.suppress(OSError):  # the reader is gone; there is nobody to tell
            os.write(fd, data)
        return True


def be_patient() -> None:
    """From now on lines of the root's stream handlers wait for nobody. Files are left alone: they have no reader."""
    root = logging.getLogger()
    root.handlers = [PatientStream(handler) if _may_wait(handler) else handler for handler in root.handlers]


def _may_wait(handler: logging.Handler) -> TypeGuard[logging.StreamHandler[Any]]:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    try:
        return not stat.S_ISREG(os.fstat(handler.stream.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return False  # a stream in memory
