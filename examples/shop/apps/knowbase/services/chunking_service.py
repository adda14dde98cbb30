"""Cuts Markdown into chunks that a reader would understand on their own. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")
FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\s*\n", re.DOTALL)
# Where a text may be parted, the best place first.
SEAMS = (re.compile(r"\n\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))


@dataclass(frozen=True)
class Chunk:
    """`heading` is the path of headings above the text, outermost first."""

    index: int
    heading: str
    text: str


@dataclass(frozen=True)
class Section:
    """The blocks (paragraphs, lists, fenced code) between one heading and the next."""

    heading: str
    blocks: tuple[str, ...]


class ChunkingService:
    """Cuts at headings first, then between paragraphs, and inside a paragraph only when it is too long.

    A chunk holds at most `max_chars` characters. Where one section gives several chunks, each repeats up to
    `overlap_chars` characters from the end of the one before, so that a thought across the seam is found.
    """

    def __init__(self, max_chars: int = 1_200, overlap_chars: int = 160) -> None:
        if not 0 <= overlap_chars < max_chars // 2:
            raise ValueError(f"overlap_chars: expected 0 to below half of {max_chars}, got {overlap_chars}")
        self.max_chars = max_chars
        self.overlap_chars = overlap_chars

    def split(self, markdown: str) -> list[Chunk]:
        """All chunks of a document, in reading order; none if it has no text."""
        found = [(section.heading, text) for section in sections(markdown) for text in self._pack(section.blocks)]
        return [Chunk(index, heading, text) for index, (heading, text) in enumerate(found)]

    def _pack(self, blocks: tuple[str, ...]) -> Iterator[str]:
        room = self.max_chars - self.overlap_chars - 2  # two for the empty line after the overlap
        pieces = [piece for block in blocks for piece in parted(block, room)]
        chunk = ""
        for piece in pieces:
            if not chunk:
                chunk = piece
            elif len(chunk) + 2 + len(piece) <= self.max_chars:
                chunk = f"{chunk}\n\n{piece}"
            else:
                yield chunk
                chunk = "\n\n".join(filter(None, (tail(chunk, self.overlap_chars), piece)))
        if chunk:
            yield chunk


def sections(markdown: str) -> Iterator[Section]:
    """The sections of a document, without those that have a heading and nothing else."""
    path: list[tuple[int, str]] = []
    blocks: list[str] = []
    for block in blocks_of(FRONT_MATTER.sub("", markdown.replace("\r\n", "\n"))):
        heading = HEADING.fullmatch(block)
        if heading is None:
            blocks.append(block)
            continue
        if blocks:
            yield Section(_joined(path), tuple(blocks))
        level = len(heading[1])
        path, blocks = [*(step for step in path if step[0] < level), (level, heading[2])], []
    if blocks:
        yield Section(_joined(path), tuple(blocks))


def blocks_of(markdown: str) -> Iterator[str]:
    """Paragraphs, headings and whole fenced code blocks, in order."""
    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        alone = not fence and (not line.strip() or HEADING.fullmatch(line))
        if alone and lines:
            yield "\n".join(lines)
            lines = []
        if alone and line.strip():
            yield line
        elif not alone:
            lines.append(line.rstrip())
            fence = _fence_after(fence, line)
    if lines:
        yield "\n".join(lines)


def parted(text: str, room: int) -> Iterator[str]:
    """`text` in pieces of at most `room` characters, parted at the best seam that there is."""
    while len(text) > room:
        end = _seam(text, room)
        yield text[:end].rstrip()
        text = text[end:].lstrip()
    if text:
        yield text


def tail(text: str, room: int) -> str:
    """The end of a text, from the start of a sentence or at least of a word; at most `room` characters."""
    if room == 0 or len(text) <= room:
        return ""
    end = text[-room:]
    for seam in SEAMS[2:]:
        if found := seam.search(end):
            return end[found.end() :].strip()
    return ""


def _seam(text: str, room: int) -> int:
    # A seam in the first third would leave crumbs; then the next best kind of seam is better.
    for seam in SEAMS:
        ends = [found.end() for found in seam.finditer(text, 0, room + 1) if found.start() <= room]
        if ends and ends[-1] > room // 3:
            return ends[-1]
    return room


def _fence_after(fence: str, line: str) -> str:
    """The fence that is open after this line, or nothing."""
    found = FENCE.match(line)
    if not found:
        return fence
    if not fence:
        return found[1]
    closes = found[1].startswith(fence) and not line.strip().strip(fence[0])
    return "" if closes else fence


def _joined(path: list[tuple[int, str]]) -> str:
    return " › ".join(words for _, words in path)
