"""`path("tasks/", include("django_cfg.apps.tasks.urls"))` in a project's URLs."""

from __future__ import annotations

from django.urls import path

from django_cfg.tasks.views.health import health

app_name = "django_cfg_tasks"
urlpatterns = [path("health/", health, name="health")]
