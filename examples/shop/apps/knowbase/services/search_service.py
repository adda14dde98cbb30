"""Finds the chunks that answer a question best."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from apps.knowbase.models import DocumentChunk
from apps.knowbase.services.embedding_service import cosine, from_bytes, get_embedder
from apps.knowbase.services.snippets import snippet


@dataclass(frozen=True)
class Hit:
    """One chunk that was found; `score` is the cosine similarity, 1 at most."""

    score: float
    title: str
    heading: str
    source: str
    text: str
    snippet: str


def search(question: str, limit: int = 3) -> list[Hit]:
    """The chunks nearest to a question, the best first; none for a question without words.

    Looks at every chunk of the current embedder: right for thousands, too slow for millions.
    """
    embedder = get_embedder(settings.KNOWBASE_EMBEDDER)
    [asked] = embedder.embed([question])
    if not any(asked):
        return []
    scored = ((cosine(asked, from_bytes(raw)), pk) for pk, raw in _vectors(embedder.name))
    best = [(score, pk) for score, pk in heapq.nlargest(limit, scored) if score > 0]
    chunks = DocumentChunk.objects.select_related("document").in_bulk([pk for _, pk in best])
    return [_hit(question, score, chunks[pk]) for score, pk in best if pk in chunks]


def _vectors(embedder: str) -> Iterator[tuple[int, bytes]]:
    rows = DocumentChunk.objects.filter(embedder=embedder).values_list("pk", "embedding")
    for pk, raw in rows.iterator(chunk_size=500):
        yield pk, bytes(raw)


def _hit(question: str, score: float, chunk: DocumentChunk) -> Hit:
    plain = re.sub(r"[`*|]|^[-=|: ]+$", "", chunk.text, flags=re.MULTILINE)
    return Hit(
        score=score,
        title=chunk.document.title,
        heading=chunk.heading,
        source=chunk.document.source,
        text=chunk.text,
        snippet=snippet(question, plain),
    )
