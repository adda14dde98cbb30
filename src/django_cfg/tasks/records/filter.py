"""One way to choose tasks, for the shell, the pages and Python: `state:failed queue:mail since:2h`. Pure."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from django_cfg.errors import FilterError
from django_cfg.tasks.lifecycle import State

#: What people call dead letters.
ALIASES = {"failed": State.DEAD_LETTER, "dead": State.DEAD_LETTER}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
NAMES = ("state", "task", "queue", "id", "error", "group", "tag", "worker", "parent", "since", "before")
#: Words whose value may be several.
SEVERAL = ("state", "task", "queue", "id")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which records are meant; everything that is given must match, and of several values one.

    Attributes:
        error: part of the error's type or text, in any case of letters.
        group: a fingerprint, as the page of failures shows it.
        since, before: when the record changed last.
    """

    states: tuple[State, ...] = ()
    tasks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    error: str = ""
    group: str = ""
    tag: str = ""
    worker: str = ""
    parent: str = ""
    since: datetime | None = None
    before: datetime | None = None

    def __str__(self) -> str:
        """The given parts in words, for the audit."""
        given = [(f.name, getattr(self, f.name)) for f in fields(self)]
        return ", ".join(f"{name}={_word(value)}" for name, value in given if value) or "everything"


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def parse(text: str, now: datetime | None = None) -> TaskFilter:
    """Read words like `task:charge,refund state:failed since:2h error:"no route"`.

    Raises:
        FilterError: an unknown name (with the nearest known one), state or time; a word without a name.
    """
    return _of_words(_split(text), now or datetime.now(UTC))


def of_arguments(arguments: Iterable[str]) -> TaskFilter:
    """The same from the words of a command line; in `error:no route` the blank belongs to the value."""
    words: list[str] = []
    for argument in arguments:
        parts = _parts(argument)
        words += parts if all(":" in part for part in parts) else [argument]
    return _of_words(words, datetime.now(UTC))


def _parts(argument: str) -> list[str]:
    """The shell has read the quotes already: one that is left alone is an apostrophe."""
    try:
        return _split(argument)
    except FilterError:
        return [argument]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FilterError(f"{text!r}: {error}") from None


def _of_words(words: Iterable[str], now: datetime) -> TaskFilter:
    said: dict[str, dict[str, Any]] = {}
    for word in words:
        name, value = _named(word)
        if name in said:
            raise FilterError(f"{name}: said twice; {_instead(name, said[name], value)}")
        said[name] = _field(name, value, now)
    return TaskFilter(**{field: value for given in said.values() for field, value in given.items()})


def _instead(name: str, before: dict[str, Any], value: str) -> str:
    if name not in SEVERAL:
        return "say it once"
    [known] = before.values()
    return f"commas mean any of: {name}:{','.join(known)},{value}"


def _named(word: str) -> tuple[str, str]:
    name, colon, value = word.partition(":")
    if not colon and _UUID.fullmatch(word):
        name, value = "id", word
    elif not colon or not value:
        raise FilterError(f"expected NAME:VALUE, got {word!r}; names: {', '.join(NAMES)}")
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(NAMES)}"
        raise FilterError(f"unknown name {name!r} in {word!r}; {hint}")
    return name, value


def _field(name: str, value: str, now: datetime) -> dict[str, Any]:
    match name:
        case "state":
            return {"states": tuple(_state(word) for word in value.split(","))}
        case "task" | "queue" | "id":
            return {f"{name}s": tuple(value.split(","))}
        case "since" | "before":
            return {name: moment(value, now)}
    return {name: value}


def _state(word: str) -> State:
    try:
        return ALIASES.get(word) or State(word)
    except ValueError:
        raise FilterError(f"unknown state {word!r}; known: {', '.join(State)}, failed") from None


def moment(text: str, now: datetime) -> datetime:
    """`90s`, `15m`, `2h` and `7d` are so long ago; else a date or a moment, in UTC when it names no zone.

    Raises:
        FilterError: neither.
    """
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    try:
        if span is not None:
            return now - timedelta(seconds=float(span[1]) * UNITS[span[2]])
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise FilterError(
            f"expected an age like 90s, 15m, 2h, 7d or a moment like 2026-01-31T12:00, got {text!r}"
        ) from None
