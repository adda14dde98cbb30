"""Pages of dead letters: where one ends, the next goes on, whatever came or went meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import dropwhile

from django_cfg.errors import FilterError
from django_cfg.tasks.brokers.contract import DeadLetterInfo


def cursor(died_at_ms: int, message_id: str) -> str:
    """Names a place in an order by time of death."""
    return f"{died_at_ms}.{message_id}"


def behind(letters: Iterable[DeadLetterInfo], after: str) -> Iterator[DeadLetterInfo]:
    """What stands behind a place. Is its letter gone, those of the same moment come again: none may be missed.

    Raises:
        FilterError: `after` is no cursor.
    """
    if not after:
        return iter(letters)
    moment = _moment(after)
    return _behind(dropwhile(lambda letter: _moment(letter.cursor) > moment, letters), after, moment)


def _behind(letters: Iterator[DeadLetterInfo], after: str, moment: int) -> Iterator[DeadLetterInfo]:
    same: list[DeadLetterInfo] = []
    older: list[DeadLetterInfo] = []
    for letter in letters:
        if letter.cursor == after:
            same.clear()
        elif _moment(letter.cursor) == moment:
            same.append(letter)
        else:
            older.append(letter)
            break
    yield from (*same, *older)
    yield from letters


def _moment(text: str) -> int:
    return number(text.partition(".")[0])


def number(text: str) -> int:
    """The number that a cursor is or begins with.

    Raises:
        FilterError: it is none.
    """
    if not text.isdecimal() or len(text) > 18:
        raise FilterError(f"after={text[:40]!r} is no cursor; take that of the last dead letter of the page before")
    return int(text)
