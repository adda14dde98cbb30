"""RQ's worker, as django-rq starts it."""

from __future__ import annotations

from django_prodserver.backends.base import CommandBackend


class RQWorker(CommandBackend):
    package, extra, name = "django_rq", "rq", "rqworker"
    missing = "add 'django_rq' to INSTALLED_APPS"
    positional = "queues"
