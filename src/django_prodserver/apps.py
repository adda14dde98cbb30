"""The Django app: two commands, no models."""

from __future__ import annotations

from django.apps import AppConfig


class ProdserverConfig(AppConfig):
    name = "django_prodserver"
    verbose_name = "Production processes"
