"""Workers and the clock of Dramatiq tasks: commands of the task app, known by their names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from django_prodserver.args import given
from django_prodserver.backends.base import CommandBackend, Facts, number
from django_prodserver.backends.queue_depth import Trigger, triggers
from django_prodserver.wait import broker_url

#: What a worker's supervisor allows above the shutdown timeout before it kills, and a little more.
MARGIN_S = 13.0


class DramatiqWorker(CommandBackend):
    name = "rundramatiq"
    missing = "add 'django_cfg.apps.tasks' to INSTALLED_APPS"

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        return Facts(
            processes=int(number(values, "processes", _told("processes", 4))),
            stop_s=_told("shutdown_timeout_ms", 25_000) / 1000 + MARGIN_S,
        )

    def queue_depth(self, argv: Sequence[str]) -> list[Trigger]:
        options = self.options()
        values = given(argv, options) if options is not None else {}
        asked = [name for text in values.get("queues", []) for name in text.split(",")]
        threads = int(number(values, "threads", _told("threads", 8)))
        at_once = self.read_facts(values).processes * threads
        return triggers(broker_url(), asked or list(_told("queues", None) or []), at_once)


class CronTicker(CommandBackend):
    name = "dramatiq_cron"
    missing = "schedules need a version of django-cfg-tasks with that command"


def _told(key: str, default: Any) -> Any:
    return getattr(settings, "DJANGO_CFG_TASKS", {}).get(key, default)
