"""What one source says: values by their path, each with the place it was written at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_cfg.models.problem import Problem

Path = tuple[str, ...]
_UNEXPANDED = re.compile(r"\$\{[^}]*\}?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and where it was written: `variable NAME`, or `file:line`."""

    value: Any
    origin: str


@dataclass(slots=True)
class Layer:
    """The values of one source and what is wrong with it."""

    entries: dict[Path, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, path: Path, what: str, origin: str, cure: str) -> None:
        self.problems.append(Problem(path, what, origin, cure=cure))

    def put(self, path: Path, name: str, value: Any, origin: str) -> None:
        """Keep a value, or the problem that no field could explain: it is empty, or was never expanded.

        Args:
            name: what the writer called it, for the message.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            self.refuse(path, f"{name} is empty", origin, "set it or remove it")
        elif any(_UNEXPANDED.search(text) for text in _texts(value)):
            cure = "write its value, or set that variable before start"
            self.refuse(path, f"{name} holds a variable that was not expanded (${{...}})", origin, cure)
        elif isinstance(value, dict) and value:
            for key, item in value.items():
                self.put((*path, str(key)), f"{name}.{key}", item, origin)
        else:
            self.entries[path] = Entry(value, origin)


def merge(layers: Iterable[Layer]) -> Layer:
    """One layer out of several; the later wins, value by value."""
    merged = Layer()
    for layer in layers:
        merged.problems += layer.problems
        for path, entry in layer.entries.items():
            for hidden in [p for p in merged.entries if _overlap(p, path)]:
                del merged.entries[hidden]
            merged.entries[path] = entry
    return merged


def nested(entries: Mapping[Path, Entry]) -> dict[str, Any]:
    """The values as dictionaries in dictionaries, as a model reads them."""
    tree: dict[str, Any] = {}
    for path, entry in entries.items():
        branch = tree
        for step in path[:-1]:
            branch = branch.setdefault(step, {})
        branch[path[-1]] = entry.value
    return tree


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
