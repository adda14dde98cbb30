"""The options that one server understands, and how each is written on its command line. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Takes(Enum):
    """What follows the name of an option."""

    NOTHING = "nothing"
    VALUE = "a value"
    OPTIONAL = "a value or nothing"
    BOOLEAN = "true or false"


class Many(Enum):
    """How several values are written."""

    REFUSED = "one value only"
    REPEATED = "--option=a --option=b"
    JOINED = "--option=a,b"
    SPREAD = "--option a b"


@dataclass(frozen=True)
class Option:
    """One option of a server.

    Attributes:
        flag: the spelling that goes to the server, with its dashes.
        dest: the thing that it sets; an override replaces what has the same.
        off: the spelling that switches a flag off, where there is one.
    """

    flag: str
    dest: str
    takes: Takes = Takes.VALUE
    many: Many = Many.REFUSED
    off: str | None = None


def plain(name: str) -> str:
    """One spelling for `worker_class`, `worker-class` and `--worker-class`."""
    return name.lstrip("-").replace("_", "-")


class UnknownOption(ValueError):
    """The server has no such option; the message says which was probably meant."""


class Options:
    """Every spelling that a server accepts.

    Args:
        spellings: option by name, without leading dashes.
        abbreviations: the server's own parser completes unambiguous beginnings.
    """

    def __init__(self, spellings: dict[str, Option], *, abbreviations: bool = False) -> None:
        self._spellings = {plain(name): option for name, option in spellings.items()}
        self._abbreviations = abbreviations

    def __len__(self) -> int:
        return len(self._spellings)

    def find(self, name: str) -> Option:
        """The option of that name.

        Raises:
            UnknownOption: there is none.
        """
        wanted = plain(name)
        option = self._spellings.get(wanted) or self._completed(wanted)
        if option is None:
            raise UnknownOption(f"unknown option {name!r}{self._hint(wanted)}")
        return option

    def knows(self, name: str) -> bool:
        return plain(name) in self._spellings

    def _completed(self, wanted: str) -> Option | None:
        if not self._abbreviations or len(wanted) < 2:
            return None
        found = {option for name, option in self._spellings.items() if name.startswith(wanted)}
        return found.pop() if len(found) == 1 else None

    def _hint(self, wanted: str) -> str:
        names = [name for name in self._spellings if len(name) > 1]
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
        if close:
            return f"; did you mean {close[0]!r}?"
        return f"; known: {', '.join(sorted(names))}"


def merged(tables: Iterable[dict[str, Option]]) -> dict[str, Option]:
    """Several tables as one; an earlier one wins."""
    result: dict[str, Option] = {}
    for table in tables:
        result = {**table, **result}
    return result
