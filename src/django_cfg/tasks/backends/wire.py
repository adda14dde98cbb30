"""Tasks and their results in the form that travels: options of a message, and what is kept of a finished task.

Times are whole microseconds since 1970, because a result must come back equal to what `enqueue()` returned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from django_cfg.errors import NotSerializable
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.brokers.endings import FINDABLE
from django_cfg.tasks.compat import TaskError, normalize_json

#: The options of a message that are ours.
DECLARED, ATTEMPTS = FINDABLE, "attempts"
#: Types whose values JSON gives back as they were.
SIMPLE = frozenset({str, int, bool, type(None)})
#: The backend of most tasks; a message names only others.
USUAL_BACKEND = "default"
#: In the attempts of a task: a run that ended with the death of its process.
LOST = "lost"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime | None) -> int | None:
    """A moment as a number; one without a time zone is in Django's."""
    if moment is None:
        return None
    aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return (aware - EPOCH) // MICROSECOND


def moment(number: int | None) -> datetime | None:
    """The way back, with a time zone if the project has them."""
    if number is None:
        return None
    aware = EPOCH + number * MICROSECOND
    return aware if settings.USE_TZ else timezone.make_naive(aware)


def plain(value: Any, place: str) -> Any:
    """A value as it will come back: what is JSON stays, keys become text, everything else is refused.

    Raises:
        TypeError: a type that is no JSON.
        ValueError: a number, or bytes, that JSON has no way to write.
    """
    normal = normalize_json(value)
    try:
        codec.check(normal, place)
    except NotSerializable:
        normal = json.loads(json.dumps(normal, allow_nan=False))
        codec.check(normal, place)
    return normal


def plain_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a task as they will arrive; errors as of `plain`."""
    is_simple = SIMPLE.issuperset(map(type, args))
    return tuple(args if is_simple else plain(args, place)), plain(kwargs, place) if kwargs else {}


@dataclass(slots=True)
class History:
    """What has happened to a task before its next run."""

    started_at: int | None = None
    last_attempted_at: int | None = None
    worker_ids: list[str] = field(default_factory=list)

    def with_lost(self, deliveries: int) -> list[str]:
        """Workers so far; a run that took its process down has left no name, only a count."""
        unnamed = max(0, deliveries - self.worker_ids.count(LOST))
        return [*self.worker_ids, *[LOST] * unnamed]


def history(options: Mapping[str, Any]) -> History:
    """The history in a message; what is not as we write it counts as none."""
    found = options.get(ATTEMPTS)
    if not isinstance(found, dict):
        return History()
    workers = found.get("worker_ids")
    return History(
        _number(found.get("started_at")),
        _number(found.get("last_attempted_at")),
        [str(name) for name in workers] if isinstance(workers, list) else [],
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def errors(options: Mapping[str, Any]) -> list[TaskError]:
    """The failures that travel with a message, the oldest first."""
    found = options.get("errors")
    return [_error(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _error(entry: dict[str, Any]) -> TaskError:
    path = entry.get("path") or f"builtins.{entry.get('type', 'Exception')}"
    return TaskError(exception_class_path=path, traceback=str(entry.get("traceback", "")))
