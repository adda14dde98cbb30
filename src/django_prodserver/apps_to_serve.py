"""Which WSGI or ASGI application, and which Celery application, a project has."""

from __future__ import annotations

import os

from django.conf import settings


def wsgi_application(written: str | None) -> str:
    """`module:attribute` of what to serve: APP, else WSGI_APPLICATION, else one made from the settings."""
    found = written or getattr(settings, "WSGI_APPLICATION", None)
    return with_colon(found) if found else "django_prodserver.wsgi:application"


def asgi_application(written: str | None) -> str:
    """The same for ASGI_APPLICATION."""
    found = written or getattr(settings, "ASGI_APPLICATION", None)
    return with_colon(found) if found else "django_prodserver.asgi:application"


def celery_application(written: str | None) -> str:
    """APP as Celery reads it, else the package of the settings module, where Celery's own guide puts the app."""
    return written or os.environ.get("DJANGO_SETTINGS_MODULE", "").split(".")[0]


def with_colon(path: str) -> str:
    module, _, attribute = path.rpartition(".")
    return path if ":" in path or not module else f"{module}:{attribute}"
