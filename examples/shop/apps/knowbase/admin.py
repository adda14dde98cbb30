"""The knowledge base in the admin."""

from django.contrib import admin

from apps.knowbase.models import Document


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):
    list_display = ["title", "status", "source", "updated_at"]
    list_filter = ["status"]
    search_fields = ["title"]
