"""From a saved document to chunks in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.knowbase.models import Document, DocumentChunk
from apps.knowbase.services.chunking_service import Chunk, ChunkingService
from apps.knowbase.services.embedding_service import Embedder, EmbedderUnavailable, get_embedder, to_bytes


class EmptyDocument(Exception):
    """A document without any text; processing it again would not help."""


def process_document(document_id: str) -> int | None:
    """Replace the chunks of a document; returns how many there are, or None if the document is gone.

    Can be repeated: chunks and status change in one transaction, and a second run ends in the same state.

    Raises:
        EmptyDocument: there is nothing to cut.
        EmbedderUnavailable: the chosen embedder is not there.
    """
    document = Document.objects.filter(pk=document_id).first()
    if document is None:
        return None
    _mark(document_id, Document.Status.PROCESSING)
    with _failure_is_visible(document_id):
        chunks = ChunkingService().split(document.content)
        if not chunks:
            raise EmptyDocument(f"document {document.title!r} has no text")
        embedder = get_embedder(settings.KNOWBASE_EMBEDDER)
        _save(document, embedder, embedded(document.title, chunks, embedder))
    return len(chunks)


def embedded(title: str, chunks: list[Chunk], embedder: Embedder) -> list[tuple[Chunk, bytes]]:
    """Each chunk with its vector; title and headings count as part of the text."""
    vectors = embedder.embed([f"{title}\n{chunk.heading}\n{chunk.text}" for chunk in chunks])
    return [(chunk, to_bytes(vector)) for chunk, vector in zip(chunks, vectors, strict=True)]


def _save(document: Document, embedder: Embedder, found: list[tuple[Chunk, bytes]]) -> None:
    rows = [
        DocumentChunk(
            document=document,
            index=chunk.index,
            heading=chunk.heading[:512],
            text=chunk.text,
            embedder=embedder.name,
            embedding=vector,
        )
        for chunk, vector in found
    ]
    with transaction.atomic():
        # The lock makes two runs of one document replace the chunks one after the other.
        current = Document.objects.select_for_update().filter(pk=document.pk).first()
        if current is None or current.updated_at != document.updated_at:
            return  # deleted or saved again meanwhile; the later save has a task of its own
        DocumentChunk.objects.filter(document=document).delete()
        DocumentChunk.objects.bulk_create(rows, batch_size=200)
        _mark(document.pk, Document.Status.COMPLETED)


@contextmanager
def _failure_is_visible(document_id: str) -> Iterator[None]:
    try:
        yield
    except (EmptyDocument, EmbedderUnavailable):
        _mark(document_id, Document.Status.FAILED)
        raise


def _mark(document_id: object, status: Document.Status) -> None:
    # `update` and not `save`: a change of status must not start the processing again.
    ended = status in (Document.Status.COMPLETED, Document.Status.FAILED)
    Document.objects.filter(pk=document_id).update(status=status, processed_at=timezone.now() if ended else None)
