"""Django Q2's cluster."""

from __future__ import annotations

from django_prodserver.backends.base import CommandBackend


class DjangoQ2Worker(CommandBackend):
    package, extra, name = "django_q", "django-q2", "qcluster"
    missing = "add 'django_q' to INSTALLED_APPS"
