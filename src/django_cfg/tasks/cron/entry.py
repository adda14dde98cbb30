"""A schedule as it is written in code, in settings or in the admin, read and checked. Pure."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from django_cfg import cron
from django_cfg.errors import CronError, NotSerializable
from django_cfg.redact import redact_value
from django_cfg.tasks.brokers import codec
from django_cfg.tasks.cron.due import Cron, Interval, Timing, ms_of
from django_cfg.units import humane, s_to_ms

LONGEST_NAME = 200


@dataclass(frozen=True)
class Entry:
    """One schedule. The names of the fields are the keys in which it is written.

    Attributes:
        name: identifies it in every place; the task's name when nothing else is written.
        cron, every_s: one of the two, a checked expression or seconds.
        timezone: whose clocks the expression means.
        queue: None: the task's own.
        missed, missed_limit, missed_window_s: what happens to ticks that nobody was there to enqueue; with
            "all" at most so many of them, and none that is older than the window.
        overlap: what happens when the last run has not ended.
        jitter_s: how far this schedule may lie behind its nominal times; always by the same span.
        start, end: ISO moments; outside of them there are no ticks.
        ping_url: asked when a run has succeeded, and with `/fail` when it became a dead letter; "": none.
    """

    name: str
    actor_name: str
    cron: str = ""
    every_s: float | None = None
    timezone: str = "UTC"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    queue: str | None = None
    enabled: bool = True
    missed: str = "latest"
    missed_limit: int = 100
    missed_window_s: float = 86_400
    overlap: str = "allow"
    jitter_s: float = 0
    start: str | None = None
    end: str | None = None
    ping_url: str = ""
    description: str = ""

    @cached_property
    def timing(self) -> Timing:
        """Its nominal times."""
        start_ms, end_ms = _moment(self.start), _moment(self.end)
        if self.every_s is not None:
            return Timing(Interval(s_to_ms(self.every_s), start_ms or 0), start_ms, end_ms)
        return Timing(Cron(self.cron, cron.zone(self.timezone)), start_ms, end_ms)

    @cached_property
    def delay_ms(self) -> int:
        """How far its ticks lie behind their nominal times: a number from its name, the same in every process."""
        return zlib.crc32(self.name.encode()) % (s_to_ms(self.jitter_s) + 1)

    @property
    def spec(self) -> str:
        """What its times depend on; after a change the old times say nothing about the new ones."""
        rule = f"every {self.every_s} s" if self.every_s is not None else f"{self.cron} {self.timezone}"
        return f"{rule} {self.start or ''} {self.end or ''}".strip()

    @property
    def words(self) -> str:
        """Its times in words: "At 09:00 on Monday through Friday, Europe/Paris"."""
        if self.every_s is not None:
            return f"Every {humane(s_to_ms(self.every_s))}"
        return f"{cron.words_for(self.cron)}, {self.timezone}"

    def written(self) -> dict[str, Any]:
        """The keys that differ from the defaults, as plain JSON; reading it gives this entry again."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
        keep = {"name", "actor_name", "cron", "every_s", "timezone"}
        return {n: v for n, v in plain.items() if (n in keep and v not in ("", None)) or v != _DEFAULTS.get(n, v)}


def read(given: Mapping[str, Any], where: str, timezone: str = "UTC") -> Entry:
    """The schedule that a dictionary describes.

    Parameters:
        where: whose dictionary it is, for errors.
        timezone: the zone of an expression that names none.

    Raises:
        CronError: an unknown key (with the nearest), a missing one, a wrong value with what is allowed.
    """
    _refuse_unknown(given, where)
    for name, (is_right, wanted) in _RULES.items():
        if name in given and not is_right(given[name]):
            raise CronError(f"{where}: {name} must be {wanted}, got {redact_value(name, given[name])}")
    values = {name: value for name, value in given.items() if value is not None}
    values.setdefault("name", values.get("actor_name", ""))
    values["args"] = tuple(values.get("args", ()))
    values.setdefault("timezone", timezone)
    try:
        return _checked(values)
    except (CronError, NotSerializable) as error:
        raise CronError(f"{where}: {error}") from None


def _checked(values: dict[str, Any]) -> Entry:
    if not values.get("actor_name"):
        raise CronError("actor_name is missing; write the name of the task")
    if ("cron" in values) == ("every_s" in values):
        raise CronError("write either cron, like '0 2 * * *', or every_s, in seconds")
    if "cron" in values:
        values["cron"] = cron.check(values["cron"])
    cron.zone(values["timezone"])
    codec.check(values["args"], "args")
    codec.check(values.get("kwargs", {}), "kwargs")
    start_ms, end_ms = _moment(values.get("start")), _moment(values.get("end"))
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise CronError(f"end {values['end']} is before start {values['start']}")
    return Entry(**values)


def _refuse_unknown(given: Mapping[str, Any], where: str) -> None:
    known = [f.name for f in fields(Entry)]
    for name in given:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise CronError(f"{where}: unknown key {str(name)!r}; {hint}")


def _moment(text: str | None) -> int | None:
    return None if text is None else ms_of(datetime.fromisoformat(text))


def _is_moment(value: Any) -> bool:
    try:
        return value is None or datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and (not value or is_good_url(value))


def is_good_url(url: str) -> bool:
    """HTTPS, or plain HTTP to this machine, where nobody listens on the way."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))


def _text(longest: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest and "\0" not in value


def _number(low: float, high: float) -> Callable[[Any], bool]:
    def is_within(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and low <= value <= high

    return is_within


YEAR_S = 366 * 86_400
#: For each key what it may be, as a test and in words.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: v is None or (_text(LONGEST_NAME)(v) and bool(v.strip())), "a text of 1–200 characters"),
    "actor_name": (_text(255), "the name of a task"),
    "cron": (lambda v: v is None or isinstance(v, str), "a text like '0 2 * * *'"),
    "every_s": (lambda v: v is None or _number(1, YEAR_S)(v), "a number of seconds, 1 to a year"),
    "timezone": (lambda v: v is None or isinstance(v, str), "a name like 'Europe/Berlin'"),
    "args": (lambda v: isinstance(v, list | tuple), "a list"),
    "kwargs": (lambda v: isinstance(v, dict), "a dictionary"),
    "queue": (lambda v: v is None or (_text(200)(v) and bool(v)), "the name of a queue or None"),
    "enabled": (lambda v: isinstance(v, bool), "True or False"),
    "missed": (lambda v: v in cron.MISSED, f"one of {', '.join(cron.MISSED)}"),
    "missed_limit": (lambda v: isinstance(v, int) and _number(1, 1000)(v), "a whole number, 1–1000"),
    "missed_window_s": (_number(0, YEAR_S), "a number of seconds, 0 to a year"),
    "overlap": (lambda v: v in cron.OVERLAP, f"one of {', '.join(cron.OVERLAP)}"),
    "jitter_s": (_number(0, 86_400), "a number of seconds, 0–86400"),
    "start": (_is_moment, "a moment with its offset, like 2027-01-01T00:00+01:00"),
    "end": (_is_moment, "a moment with its offset, like 2027-12-31T23:59+01:00"),
    "ping_url": (_is_url, "an https:// URL (http:// only to this machine)"),
    "description": (_text(1000), "a text of at most 1000 characters"),
}
_DEFAULTS: dict[str, Any] = {
    f.name: {} if f.name == "kwargs" else ([] if f.name == "args" else f.default)
    for f in fields(Entry)
    if f.name not in ("name", "actor_name")
}
