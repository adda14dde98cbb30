"""The part of a text that a question is about. Pure functions."""

from __future__ import annotations

from apps.knowbase.services.embedding_service import STOP_WORDS, WORD

MAX_CHARS = 320


def snippet(question: str, text: str, max_chars: int = MAX_CHARS) -> str:
    """The stretch of `text` that holds most words of the question, with dots where it was cut."""
    flat = " ".join(text.split())
    if len(flat) <= max_chars:
        return flat
    wanted = {word for word in WORD.findall(question.casefold()) if word not in STOP_WORDS}
    starts = [0, *(found.start() for found in WORD.finditer(flat) if found.group().casefold() in wanted)]
    best = max(starts, key=lambda start: _kinds(wanted, flat[start : start + max_chars]))
    start = min(_word_start(flat, max(0, best - max_chars // 8)), len(flat) - max_chars)
    stretch = flat[start : start + max_chars]
    if start + max_chars < len(flat):
        stretch = stretch.rpartition(" ")[0] + " …"
    return ("… " if start else "") + stretch.strip()


def _kinds(wanted: set[str], text: str) -> int:
    return len(wanted.intersection(WORD.findall(text.casefold())))


def _word_start(text: str, place: int) -> int:
    """The start of the word at or after a place."""
    return place if place == 0 else text.find(" ", place) + 1
