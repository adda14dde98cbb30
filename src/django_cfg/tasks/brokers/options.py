"""Which options a task, and one send, may carry: names, types and ranges. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_cfg.errors import InvalidTaskOption
from django_cfg.units import timedelta_to_ms

#: Lowest value of each numeric option; milliseconds unless the name says otherwise.
LOWEST = {
    "max_retries": 0,
    "min_backoff": 0,
    "max_backoff": 0,
    "max_age": 1,
    "time_limit": 1,
    "max_deliveries": 1,
    "result_ttl": 1,
}
#: A message must not raise these above what its task says.
LIMITS = ("max_retries", "time_limit", "max_age", "max_deliveries")
#: Options that the engine itself puts into a message.
INTERNAL = frozenset(
    {
        "retries",
        "errors",
        "requeue_timestamp",
        "eta",
        "redis_message_id",
        "unknown_since",
        "pipeline_step",
        "group_completion_uuid",
        "group_completion_callbacks",
        "delay",
        "queue_name",
    }
)
MAX_DELAY_MS = 10 * 365 * 86_400_000


def check_names(message_id: str, task: str, queue: str) -> None:
    """Refuse names that a store would cut or refuse later.

    Raises:
        InvalidTaskOption: a name that is empty, too long, or holds a NUL.
    """
    for what, name, longest in (("message_id", message_id, 64), ("task", task, 255), ("queue", queue, 200)):
        if not 0 < len(name) <= longest or "\0" in name:
            raise InvalidTaskOption(f"{what} must have 1 to {longest} characters and no NUL, got {name[:300]!r}")


def check_task(task: str, options: Mapping[str, Any], priority: Any) -> None:
    """Refuse wrong options where a task is declared, at import time.

    Raises:
        InvalidTaskOption: names the task, the option, what was expected and what was given.
    """
    if not _is_int(priority):
        raise InvalidTaskOption(f"task {task}: priority must be an integer (0 first, 100 late), got {priority!r}")
    _check_values(task, options)
    low, high = options.get("min_backoff"), options.get("max_backoff")
    if low is not None and high is not None and low > high:
        raise InvalidTaskOption(f"task {task}: min_backoff {low} ms is above max_backoff {high} ms")


def check_send(task: str, options: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse wrong options of one send.

    Raises:
        InvalidTaskOption: an unknown name (with the nearest known one), a wrong type or range.
    """
    for name in options:
        if name not in known and name not in INTERNAL:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise InvalidTaskOption(f"task {task}: unknown option {name!r}; {hint}")
    _check_values(task, options)


def clamped(options: Mapping[str, Any], task_limits: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a received message, with no limit above its task's."""
    kept = dict(options)
    for name in LIMITS:
        ceiling = task_limits.get(name)
        if ceiling is not None and name in kept and (not _is_number(kept[name]) or kept[name] > ceiling):
            kept[name] = ceiling
    return kept


def delay_ms(task: str, delay: Any) -> int | None:
    """A delay in milliseconds from what callers write: a number of milliseconds, a timedelta, an aware moment.

    None means no delay.

    Raises:
        InvalidTaskOption: negative, not finite, further than ten years, or of another type.
    """
    if delay is None:
        return None
    if isinstance(delay, timedelta):
        return delay_ms(task, timedelta_to_ms(delay))
    if isinstance(delay, datetime):
        return _until(task, delay)
    if isinstance(delay, bool) or not _is_number(delay):
        raise InvalidTaskOption(
            f"task {task}: delay must be milliseconds, a timedelta or an aware datetime, got {delay!r}"
        )
    if not math.isfinite(delay) or not 0 <= delay <= MAX_DELAY_MS:
        raise InvalidTaskOption(f"task {task}: delay must be between 0 ms and ten years, got {delay!r}")
    milliseconds: int = round(delay)
    return milliseconds


def _until(task: str, moment: datetime) -> int:
    if timezone.is_naive(moment):
        raise InvalidTaskOption(f"task {task}: delay {moment!r} has no time zone; use django.utils.timezone")
    return max(0, timedelta_to_ms(moment - timezone.now()))


def _check_values(task: str, options: Mapping[str, Any]) -> None:
    for name, lowest in LOWEST.items():
        value = options.get(name)
        if value is None or (name == "time_limit" and value == math.inf):
            continue
        if not _is_int(value):
            raise InvalidTaskOption(f"task {task}: {name} must be an integer, got {value!r}")
        if value < lowest:
            raise InvalidTaskOption(f"task {task}: {name} must be at least {lowest}, got {value!r}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
