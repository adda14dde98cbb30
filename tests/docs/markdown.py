"""Fenced blocks of a Markdown page. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<marks>`{3,}|~{3,})(?P<info>.*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: where its first line of text stands in the page.
        title: the file to write, from `title="..."`; None for text that is not a file.
        flags: the other words of the info string.
    """

    page: Path
    line: int
    language: str
    text: str
    title: str | None = None
    flags: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        ValueError: a fence that is never closed.
    """
    return list(_blocks(page, iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))))


def _blocks(page: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Block]:
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            continue
        text = _until_closed(lines, opening["marks"], f"{page.name}:{number}")
        language, title, flags = _info(opening["info"])
        yield Block(page, number + 1, language, text, title, flags)


def _until_closed(lines: Iterator[tuple[int, str]], marks: str, place: str) -> str:
    inside: list[str] = []
    for _, line in lines:
        closing = FENCE.match(line)
        if closing is not None and closing["marks"].startswith(marks) and not closing["info"].strip():
            return dedent("\n".join(inside) + "\n")
        inside.append(line)
    raise ValueError(f"{place}: this block has no end")


def _info(info: str) -> tuple[str, str | None, frozenset[str]]:
    language, *words = shlex.split(info) or [""]
    title = next((word.removeprefix("title=") for word in words if word.startswith("title=")), None)
    return language, title, frozenset(word for word in words if not word.startswith("title="))


def commands(text: str) -> list[str]:
    """The commands of a shell block: continued lines joined, comments and empty lines left out."""
    joined = text.replace("\\\n", " ")
    bare = (re.sub(r"(^|\s{2,})#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in bare if line]
