"""The task that makes a saved document searchable."""

from __future__ import annotations

import dramatiq

from apps.knowbase.services.document_service import EmptyDocument, process_document


@dramatiq.actor(queue_name="knowledge", max_retries=3, min_backoff=1_000, throws=(EmptyDocument,))
def process_document_async(document_id: str) -> str:
    """Cut one document into chunks with embeddings; a document without text is not tried again."""
    count = process_document(document_id)
    return "document is gone" if count is None else f"{count} chunks"
