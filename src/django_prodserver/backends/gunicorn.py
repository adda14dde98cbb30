"""Gunicorn: WSGI with worker processes; the one to take when nothing speaks for another."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from django_prodserver.apps_to_serve import wsgi_application
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, host_and_port, number
from django_prodserver.options import Options
from django_prodserver.readers import from_argparse


class GunicornServer(ModuleBackend, BaseServerBackend):
    package = extra = module = script = "gunicorn"

    def options(self) -> Options:
        self.require()
        parser = importlib.import_module("gunicorn.config").Config().parser()
        return Options(from_argparse(parser), abbreviations=True)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, wsgi_application(self.app)]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        binds = [host_and_port(text, 8000) for text in values.get("bind", ["127.0.0.1:8000"])]
        return Facts(
            addresses=tuple(bind for bind in binds if bind is not None),
            processes=int(number(values, "workers", 1)),
            stop_s=number(values, "graceful_timeout", 30),
        )
