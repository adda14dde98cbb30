"""The only conversions between units of time, and numbers for people. Names say the unit: `_ms`, `_s`."""

from __future__ import annotations

from datetime import datetime, timedelta

MS_PER_S = 1000
MS_PER_DAY = 86_400_000


def ms_to_s(milliseconds: float) -> float:
    return milliseconds / MS_PER_S


def s_to_ms(seconds: float) -> int:
    return round(seconds * MS_PER_S)


def timedelta_to_ms(span: timedelta) -> int:
    return s_to_ms(span.total_seconds())


def ms_until(moment: datetime, now: datetime) -> int:
    """Milliseconds to wait so that nothing starts before the moment, also by a clock that is cut down to whole ones; 0
    if it is over."""
    left = moment - now
    return 0 if left <= timedelta() else -(-left // timedelta(milliseconds=1)) + 1


def days_to_ms(days: float) -> int:
    return round(days * MS_PER_DAY)


def counted(number: int, one: str, many: str = "") -> str:
    """How many of something: "1 dead letter", "2 dead letters"; `many` where the plural is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def humane(milliseconds: float) -> str:
    """A duration for people: 0.4 ms, 12 ms, 3.2 s, 4 min 10 s, 2 h 5 min."""
    if milliseconds < 1:
        return f"{milliseconds:.1f} ms"
    if milliseconds < MS_PER_S:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / MS_PER_S
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
