"""A saved document starts its processing."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from apps.knowbase.models import Document
from apps.knowbase.tasks.document_processing import process_document_async


@receiver(post_save, sender=Document)
def document_saved(
    sender: type[Document],
    instance: Document,
    raw: bool = False,
    update_fields: frozenset[str] | None = None,
    **kwargs: Any,
) -> None:
    """Process the document again whenever its text may have changed."""
    text_may_differ = update_fields is None or not {"title", "content"}.isdisjoint(update_fields)
    if text_may_differ and not raw:  # raw: a fixture brings its chunks along
        _start_document_processing(instance)


def _start_document_processing(document: Document) -> None:
    # No transaction.on_commit here: a task sent inside a transaction leaves with its commit.
    process_document_async.send(str(document.pk))
