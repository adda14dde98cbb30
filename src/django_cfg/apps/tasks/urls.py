"""Door to the URLs of the tasks app."""

from django_cfg.tasks.urls import app_name, urlpatterns

__all__ = ["app_name", "urlpatterns"]
