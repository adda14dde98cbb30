"""The worker of Django's own Tasks framework, whichever app brings its `db_worker`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from django_prodserver.args import Value
from django_prodserver.backends.base import CommandBackend, Facts, number


class DjangoTasksWorker(CommandBackend):
    name = "db_worker"
    missing = "install an app that brings one (django-tasks-db, for example) and add it to INSTALLED_APPS"
    # Some db_workers watch the source while DEBUG is on, and then start twice.
    defaults: ClassVar[Mapping[str, Value]] = {"no-reload": True}

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        return Facts(processes=int(number(values, "processes", 1)))
