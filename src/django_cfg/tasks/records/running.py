"""What one worker process runs right now: where progress and log lines of a task are noted."""

from __future__ import annotations

import logging
import time
from typing import Any

from dramatiq.middleware import CurrentMessage

MOST_LINES = 50
LONGEST_LINE = 300
#: The machinery's own words are no part of what a task says.
MACHINERY = ("dramatiq", "django_cfg.tasks")
#: Done, of how many (None: unknown), and a note.
Progress = tuple[float, float | None, str]


class Running:
    """One claim whose task has started. Written by its thread, read by the recorder.

    Attributes:
        reported: the progress that the last write told of.
        writes: how often a record of the running task was written.
    """

    __slots__ = ("began", "claim", "lines", "progress", "reported", "writes")

    def __init__(self, claim: Any) -> None:
        self.claim = claim
        self.began = time.time()
        self.lines: list[str] = []
        self.progress: Progress | None = None
        self.reported: Progress | None = None
        self.writes = 0


#: By message id. Single operations on a dictionary need no lock.
running: dict[str, Running] = {}


def current() -> Running | None:
    """What the calling code belongs to; None outside of a task of a recording worker."""
    message = CurrentMessage.get_current_message()
    return running.get(message.message_id) if message is not None else None


class TaskLog(logging.Handler):
    """Keeps the last lines that each task logs, until they are recorded with its end."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(MACHINERY) or (task := current()) is None:
            return
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - as logging itself does with a wrong format
            self.handleError(record)
            return
        task.lines.append(f"{record.levelname} {record.name}: {text}"[:LONGEST_LINE])
        del task.lines[:-MOST_LINES]
