"""What one worker process runs right now: where progress and log lines of a task are noted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
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
        began: seconds since 1970.
        reported: the progress that the last write told of.
        writes: how often a record of the running task was written.
    """

    __slots__ = ("began", "claim", "lines", "progress", "reported", "writes")

    def __init__(self, claim: Any, began: float) -> None:
        self.claim = claim
        self.began = began
        self.lines: list[str] = []
        self.progress: Progress | None = None
        self.reported: Progress | None = None
        self.writes = 0


#: By message id: the tasks that have said something, and under a policy that records running tasks every one that runs.
#: Single operations on a dictionary need no lock.
running: dict[str, Running] = {}
#: Called when a task begins to be noted; None while nobody records in this process.
_tell: Callable[[], None] | None = None


def listen(tell: Callable[[], None] | None) -> None:
    """Note what tasks say from now on; None: not any more.

    Parameters:
        tell: called when there is a task more in `running`; must be quick.
    """
    global _tell
    _tell = tell


def note(message: Any) -> Running | None:
    """What is noted of a message that a thread of this process runs; None if nobody records, or its run is over."""
    if _tell is None or message.is_over:
        return None
    began = time.time() - (time.monotonic() - message.since)
    task = running[message.message_id] = Running(message.claim, began)
    if message.is_over:  # ended meanwhile, so nothing that follows would take it away again
        running.pop(message.message_id, None)
        return None
    _tell()
    return task


def current() -> Running | None:
    """What the calling code belongs to; None outside of a task of a recording worker."""
    message: Any = CurrentMessage.get_current_message()
    if message is None:
        return None
    return running.get(message.message_id) or (note(message) if hasattr(message, "claim") else None)


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
        task.lines.append(storable(f"{record.levelname} {record.name}: {text}"[:LONGEST_LINE])[:LONGEST_LINE])
        del task.lines[:-MOST_LINES]


def storable(text: str) -> str:
    """What every database takes. None takes half a character, PostgreSQL no NUL, and each refuses the whole record."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
