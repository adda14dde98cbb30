"""Celery: its worker, its clock and its page."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from django_prodserver.apps_to_serve import celery_application
from django_prodserver.backends.base import BaseServerBackend, BaseWorkerBackend, Facts, ModuleBackend, number
from django_prodserver.options import Many, Option, Options, Takes
from django_prodserver.readers import from_click


class CeleryWorker(ModuleBackend, BaseWorkerBackend):
    package = extra = module = script = "celery"
    subcommand: ClassVar[str] = "worker"

    def options(self) -> Options:
        self.require()
        command = getattr(importlib.import_module(f"celery.bin.{self.subcommand}"), self.subcommand)
        return Options(from_click(command.params))

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return ["-A", celery_application(self.app), self.subcommand, *argv]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        return Facts(processes=int(number(values, "concurrency", 1)), stop_s=60)


class CeleryBeat(CeleryWorker):
    subcommand = "beat"


class CeleryFlower(CeleryWorker, BaseServerBackend):
    package = extra = "flower"
    subcommand = "flower"

    def options(self) -> Options:
        self.require()
        importlib.import_module("flower.options")  # declares them
        known = importlib.import_module("tornado.options").options._options
        return Options({name: _tornado_option(option) for name, option in known.items()})

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        host = values.get("address", [""])[-1] or "0.0.0.0"
        return Facts(addresses=((host, int(number(values, "port", 5555))),), processes=0, stop_s=10)


def _tornado_option(option: object) -> Option:
    name = str(getattr(option, "name", ""))
    takes = Takes.BOOLEAN if getattr(option, "type", None) is bool else Takes.VALUE
    return Option(f"--{name}", name, takes, Many.JOINED if getattr(option, "multiple", False) else Many.REFUSED)
