# The tables of the knowledge base.

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Document",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("title", models.CharField(max_length=255)),
                ("content", models.TextField(blank=True)),
                (
                    "source",
                    models.CharField(blank=True, help_text="Path of the file it came from.", max_length=1024),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("processing", "Processing"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                        ],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("processed_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="DocumentChunk",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("index", models.PositiveIntegerField()),
                ("heading", models.CharField(blank=True, max_length=512)),
                ("text", models.TextField()),
                (
                    "embedder",
                    models.CharField(help_text="Vectors of two embedders cannot be compared.", max_length=64),
                ),
                ("embedding", models.BinaryField(help_text="32-bit floats, little-endian.")),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="knowbase.document",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["embedder"], name="chunk_embedder")],
                "constraints": [models.UniqueConstraint(fields=("document", "index"), name="one_chunk_per_place")],
            },
        ),
    ]
