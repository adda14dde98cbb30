"""Documents and the pieces that a search looks through."""

from __future__ import annotations

import uuid

from django.db import models


class Document(models.Model):
    """A text that somebody saved; a task cuts it into chunks."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=255)
    content = models.TextField(blank=True)
    source = models.CharField(max_length=1024, blank=True, help_text="Path of the file it came from.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    processed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.title


class DocumentChunk(models.Model):
    """A piece of a document and its place in the space of meanings."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    index = models.PositiveIntegerField()
    heading = models.CharField(max_length=512, blank=True)
    text = models.TextField()
    embedder = models.CharField(max_length=64, help_text="Vectors of two embedders cannot be compared.")
    embedding = models.BinaryField(help_text="32-bit floats, little-endian.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "index"], name="one_chunk_per_place")]
        indexes = [models.Index(fields=["embedder"], name="chunk_embedder")]

    def __str__(self) -> str:
        return f"{self.document_id} [{self.index}]"
