"""The knowledge base."""

from django.apps import AppConfig


class KnowbaseConfig(AppConfig):
    name = "apps.knowbase"
    label = "knowbase"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models exist only now, and connecting the receiver is the purpose of the import.
        from apps.knowbase import signals  # noqa: F401
