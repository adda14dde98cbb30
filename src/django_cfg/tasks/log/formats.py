"""How a line looks: for people, or one JSON object."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

LINE = "[%(asctime)s] [%(process)d] [%(threadName)s] [%(name)s] %(levelname)s %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, `process`, `thread`; inside a task `task` and
    `message_id`; after an error `error`."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
        }
        if getattr(record, "message_id", ""):
            found |= {"task": getattr(record, "task", ""), "message_id": record.__dict__["message_id"]}
        if text := _error(self, record):
            found["error"] = text
        return json.dumps(found, default=str)


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if record.exc_text:
        return record.exc_text
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def with_task(record: logging.LogRecord, formatter: logging.Formatter | None) -> logging.LogRecord:
    """The record as a handler should get it: task and id behind the words, unless the format or the words name them."""
    message_id = getattr(record, "message_id", "")
    if not message_id or message_id in record.getMessage() or names_task(formatter):
        return record
    copy = logging.makeLogRecord(record.__dict__)
    copy.msg, copy.args = f"{record.getMessage()} [{record.__dict__['task']} {message_id}]", None
    return copy


def names_task(formatter: logging.Formatter | None) -> bool:
    """Whether a format says by itself which task a line belongs to. A formatter of another make is left alone."""
    if formatter is None:
        return False
    if type(formatter).format is not logging.Formatter.format:
        return True
    return "message_id" in (formatter._fmt or "")
