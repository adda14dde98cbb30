"""Exceptions in log lines: as they are where they hold no secret of their task, else as text without it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django_cfg.tasks.privacy import scrubbed


def write(logger: logging.Logger, words: str, *args: Any, error: BaseException, secrets: frozenset[str]) -> None:
    """An error line with an exception; handlers can look into that itself if it holds no secret."""
    text = clean(error, secrets)
    if text is None:
        logger.error(words, *args, exc_info=error)
    else:
        logger.error(f"{words}\n%s", *args, text)


def clean(error: BaseException, secrets: frozenset[str]) -> str | None:
    """The exception as text without secrets; None: it holds none."""
    text = "".join(traceback.format_exception(error))
    shown = scrubbed(text, secrets)
    return None if shown == text else shown.rstrip()


_kept_out: ContextVar[frozenset[str] | None] = ContextVar("kept_out", default=None)


class Clean(logging.Filter):
    """For a logger that others write to: inside of `keeping_out` the exceptions of its lines show no secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        secrets, error = _kept_out.get(), record.exc_info[1] if record.exc_info else None
        if secrets is not None and error is not None and (text := clean(error, secrets)) is not None:
            record.exc_info, record.exc_text = None, text
        return True


#: One for all loggers, so that adding it again changes nothing.
CLEAN = Clean()


@contextmanager
def keeping_out(secrets: frozenset[str]) -> Iterator[frozenset[str]]:
    """While the block runs, these stay out of what this thread logs by a logger with the filter."""
    token = _kept_out.set(secrets)
    try:
        yield secrets
    finally:
        _kept_out.reset(token)
