"""Huey's consumer, as its Django app starts it."""

from __future__ import annotations

from django_prodserver.backends.base import CommandBackend


class HueyWorker(CommandBackend):
    package, extra, name = "huey", "huey", "run_huey"
    missing = "add 'huey.contrib.djhuey' to INSTALLED_APPS"
