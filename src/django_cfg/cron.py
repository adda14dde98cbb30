"""Cron expressions as people write them: read, refused with a cure, and said in words. Knows no clock.

The rules are those of Debian's cron, as `cronsim` follows them. What is checked here is checked before that
library sees the text, so that an error can name the field, the part of it and the range.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from django_cfg.errors import CronError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
#: What happens to ticks that no scheduler was there for, and to a tick whose last run has not ended.
MISSED = ("skip", "latest", "all")
OVERLAP = ("allow", "skip", "buffer_one", "cancel_other")
#: Names that the zone database has beside IANA's: copies, zones with leap seconds, and this machine's own.
NOT_IANA = ("posix", "right", "localtime")
LONGEST = 200
LONGEST_SHOWN = 60
#: Any moment will do to find out whether an expression fires at all; one of a fixed calendar keeps answers the same.
REFERENCE = datetime(2024, 1, 1, tzinfo=UTC)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NUMBER = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True)
class Field:
    """One of the five fields."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0

    def number(self, text: str) -> int | None:
        """The value of a number or a name; None if it is neither."""
        if text in self.names:
            return self.names.index(text) + self.first_name
        return int(text) if _NUMBER.fullmatch(text) else None

    @property
    def allowed(self) -> str:
        named = f" or {self.names[0]}–{self.names[-1]}" if self.names else ""
        return f"{self.low}–{self.high}{named}"


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of month", 1, 31)
MONTH = Field("month", 1, 12, MONTHS, 1)
WEEKDAY = Field("day of week", 0, 7, DAYS)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


def check(text: str) -> str:
    """The five fields of an expression or of an alias like `@daily`, in capitals, with one blank between them.

    Raises:
        CronError: names the field, its position, the part that is wrong and the range; or says that the
            expression never fires.
    """
    expression = ALIASES.get(text.strip().lower()) or text
    if expression.strip().startswith("@"):
        raise CronError(_unknown_alias(expression.strip()))
    if len(expression) > LONGEST:
        raise CronError(f"cron {_shown(text)} is longer than {LONGEST} characters; write a range or a step")
    words = expression.upper().split()
    if len(words) != len(FIELDS):
        raise CronError(f"cron {_shown(text)} has {_wrong_count(len(words))}")
    for position, (field, word) in enumerate(zip(FIELDS, words, strict=True), 1):
        for complaint in _complaints(field, word):
            raise CronError(f"cron {_shown(text)}: field {position} ({field.name}) {complaint}")
    normal = " ".join(words)
    if not _fires(normal):
        raise CronError(f"cron {_shown(text)} never fires: {_never(words)}")
    return normal


def words_for(expression: str) -> str:
    """What a checked expression means, in English: "At 09:00 on Monday through Friday"."""
    return CronSim(expression, REFERENCE).explain()


def is_at_fixed_times(expression: str) -> bool:
    """Whether it names minutes and hours of the day, so that a changed clock must not run it twice or never."""
    minute, hour = expression.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        CronError: it is none of the IANA names, with the nearest one.
    """
    # Not looked up in `available_timezones`: that reads every file of the zone database, 25 ms at each start.
    if not name.startswith(NOT_IANA):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, ZoneInfoNotFoundError):
            pass  # a file that is no zone; the text below says enough
    close = difflib.get_close_matches(name, available_timezones(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else "write a name like 'Europe/Berlin' or 'UTC'"
    if re.fullmatch(r"[A-Z]{3,4}-?\d{0,2}([A-Z]{3,4})?", name):
        hint = "an abbreviation does not say when clocks change; write a name like 'America/New_York' or 'UTC'"
    raise CronError(f"timezone {_shown(name)} is unknown; {hint}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…")


def _unknown_alias(text: str) -> str:
    if text.lower() == "@reboot":
        return "cron '@reboot' has no time: a fleet has no single start; call the task where your start-up runs"
    close = difflib.get_close_matches(text.lower(), ALIASES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(ALIASES)}"
    return f"cron {_shown(text)} is no known alias; {hint}"


def _wrong_count(count: int) -> str:
    if count == 6:
        return "6 fields; seconds are not supported: write five fields, or an interval for less than a minute"
    return f"{count} fields instead of 5: minute, hour, day of month, month, day of week"


def _complaints(field: Field, word: str) -> Iterator[str]:
    for term in word.split(","):
        yield from _term(field, term)


def _term(field: Field, term: str) -> Iterator[str]:
    if not term:
        yield f"has an empty part; allowed: {field.allowed}"
    elif term == "?":
        yield "has '?', which is of another cron; write *"
    elif field is DAY and term.endswith(("L", "W")):
        if term not in ("L", "LW"):
            yield f"has {_shown(term)}; of these forms only L (last day) and LW (last weekday) exist"
    elif field is WEEKDAY and term.endswith("L"):
        yield from _last(field, term[:-1])
    elif field is WEEKDAY and "#" in term:
        yield from _nth(field, term)
    else:
        yield from _range(field, term)


def _last(field: Field, day: str) -> Iterator[str]:
    if not day.isascii() or not day.isdigit():
        yield f"has {_shown(day + 'L')}; write the number of the day before L, like 5L for the last Friday"
    else:
        yield from _value(field, day)


def _nth(field: Field, term: str) -> Iterator[str]:
    day, _, nth = term.partition("#")
    yield from _value(field, day)
    if nth not in ("1", "2", "3", "4", "5"):
        yield f"has {_shown(term)}; after # stands which of the month, 1–5"


def _range(field: Field, term: str) -> Iterator[str]:
    span, slash, step = term.partition("/")
    if slash:
        yield from _step(field, step)
    if span == "*":
        return
    first, dash, last = span.partition("-")
    yield from _value(field, first)
    if dash:
        yield from _value(field, last)
        low, high = field.number(first), field.number(last)
        if low is not None and high is not None and high < low:
            yield f"has {_shown(span)}, which runs backwards; write {_wrapped(field, first, last)}"


def _wrapped(field: Field, first: str, last: str) -> str:
    top = 6 if field is WEEKDAY else field.high
    return f"{first}-{field.names[top - field.first_name] if field.names else top},{_from_low(field, last)}"


def _from_low(field: Field, last: str) -> str:
    low = field.names[0] if field.names else str(field.low)
    return last if last == low else f"{low}-{last}"


def _step(field: Field, step: str) -> Iterator[str]:
    longest = field.high - field.low + 1
    number = field.number(step) if _NUMBER.fullmatch(step) else None
    if number is None or not 1 <= number <= longest:
        yield f"has the step {_shown(step)}; allowed: 1–{longest}"


def _value(field: Field, text: str) -> Iterator[str]:
    number = field.number(text)
    if number is None or not field.low <= number <= field.high:
        yield f"has {_shown(text)}; allowed: {field.allowed}"


def _fires(expression: str) -> bool:
    try:
        simulation = CronSim(expression, REFERENCE)
    except CronSimError:
        return False
    if simulation.day_and and not _may_meet(simulation):
        return False
    return next(simulation, None) is not None


def _may_meet(simulation: CronSim) -> bool:
    """Whether a day of the month and a day of the week can ever fall together; saves a search over fifty years."""
    longest = max(DAYS_IN_MONTH[month - 1] for month in simulation.months)
    days = {day for day in simulation.days if day > 0}
    if CronSim.LAST in simulation.days or CronSim.LAST_WEEKDAY in simulation.days:
        days |= set(range(26, 32))
    possible = {day for item in simulation.weekdays for day in _days_of(item)}
    return any(day <= longest for day in days & possible)


def _days_of(item: int | tuple[int, int]) -> range:
    if isinstance(item, int):
        return range(1, 32)
    nth = item[1]
    return range(22, 32) if nth == CronSim.LAST else range(7 * nth - 6, min(7 * nth, 31) + 1)


def _never(words: list[str]) -> str:
    if words[4] == "*":
        return f"no such month has a day {words[2]} (month {words[3]})"
    return f"day of month {words[2]} and day of week {words[4]} never fall together (month {words[3]})"
