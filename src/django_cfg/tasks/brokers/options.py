"""Which options a task, and one send, may carry: names, types and ranges. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from django_cfg.errors import InvalidTaskOption
from django_cfg.tasks.conf import TaskSettings
from django_cfg.units import ms_until, timedelta_to_ms

#: Lowest value of each numeric option; milliseconds unless the name says otherwise.
LOWEST = {
    "max_retries": 0,
    "min_backoff": 0,
    "max_backoff": 0,
    "max_age": 1,
    "time_limit": 1,
    "hard_time_limit_ms": 1,
    "max_deliveries": 1,
    "result_ttl": 1,
}
#: A message must not raise these above what its task says.
LIMITS = frozenset({"max_retries", "time_limit", "max_age", "max_deliveries"})
#: These may be `math.inf`.
ENDLESS = ("time_limit", "hard_time_limit_ms")
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
        "parent_id",
        "retry_of",
        "revived",
    }
)
#: What only a task says: the engine asks for it when the message itself is out of reach.
TASK_ONLY = frozenset({"hard_time_limit_ms", "on_lost"})
ON_LOST = ("retry", "dead_letter")
#: From the soft time limit to the end of the process, unless something else is said.
HARD_MARGIN_MS = 30_000
#: What every store can hold.
HIGHEST_PRIORITY = 32_767
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
    if not _is_int(priority) or abs(priority) > HIGHEST_PRIORITY:
        wanted = f"an integer (0 first, 100 late) within ±{HIGHEST_PRIORITY}"
        raise InvalidTaskOption(f"task {task}: priority must be {wanted}, got {priority!r}")
    _check_values(task, options)
    _check_limits(task, options)
    low, high = options.get("min_backoff"), options.get("max_backoff")
    if low is not None and high is not None and low > high:
        raise InvalidTaskOption(f"task {task}: min_backoff {low} ms is above max_backoff {high} ms")


def check_send(task: str, options: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse wrong options of one send.

    Raises:
        InvalidTaskOption: an unknown name (with the nearest known one), a wrong type or range.
    """
    for name in options:
        if name in TASK_ONLY:
            raise InvalidTaskOption(f"task {task}: {name} is said where the task is declared, not at a send")
        if name not in known and name not in INTERNAL:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise InvalidTaskOption(f"task {task}: unknown option {name!r}; {hint}")
    _check_values(task, options)


def clamped(options: dict[str, Any], task_limits: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a received message, with no limit above its task's; the same object if none was."""
    over = {
        name: ceiling
        for name, ceiling in task_limits.items()
        if ceiling is not None and name in options and (not _is_number(options[name]) or options[name] > ceiling)
    }
    return {**options, **over} if over else options


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


def hard_limit_ms(own: float | None, own_soft: float | None, settings: TaskSettings) -> float:
    """The hard time limit of a task that says `own` and, as its soft one, `own_soft`."""
    if own is not None:
        return own
    if own_soft is not None:
        return own_soft + HARD_MARGIN_MS
    if settings.hard_time_limit_ms is not None:
        return settings.hard_time_limit_ms
    return settings.time_limit + HARD_MARGIN_MS


def _until(task: str, moment: datetime) -> int:
    if timezone.is_naive(moment):
        raise InvalidTaskOption(f"task {task}: delay {moment!r} has no time zone; use django.utils.timezone")
    return ms_until(moment, datetime.now(UTC))


def _check_values(task: str, options: Mapping[str, Any]) -> None:
    _check_flag(task, options, "enqueue_on_commit")
    for name, lowest in LOWEST.items():
        value = options.get(name)
        if value is None or (name in ENDLESS and value == math.inf):
            continue
        if not _is_int(value):
            raise InvalidTaskOption(f"task {task}: {name} must be an integer, got {value!r}")
        if value < lowest:
            raise InvalidTaskOption(f"task {task}: {name} must be at least {lowest}, got {value!r}")


def _check_limits(task: str, options: Mapping[str, Any]) -> None:
    soft, hard = options.get("time_limit"), options.get("hard_time_limit_ms")
    if soft is not None and hard is not None and hard < soft:
        raise InvalidTaskOption(f"task {task}: hard_time_limit_ms {hard} is below time_limit {soft}")
    on_lost = options.get("on_lost", "retry")
    if on_lost not in ON_LOST:
        raise InvalidTaskOption(f"task {task}: on_lost must be one of {', '.join(ON_LOST)}, got {on_lost!r}")


def _check_flag(task: str, options: Mapping[str, Any], name: str) -> None:
    value = options.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidTaskOption(f"task {task}: {name} must be True or False, got {value!r}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
