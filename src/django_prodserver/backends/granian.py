"""Granian: a server in Rust, for ASGI and WSGI."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from django_prodserver.apps_to_serve import asgi_application, wsgi_application
from django_prodserver.args import Value
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, number
from django_prodserver.options import Options
from django_prodserver.readers import from_click


class GranianASGIServer(ModuleBackend, BaseServerBackend):
    package = extra = module = script = "granian"
    # Without an end a worker that hangs keeps the server for ever. Django answers no lifespan message.
    defaults: ClassVar[Mapping[str, Value]] = {"interface": "asginl", "workers-kill-timeout": 30}

    def options(self) -> Options:
        self.require()
        return Options(from_click(importlib.import_module("granian.cli").cli.params))

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, asgi_application(self.app)]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        address = (values.get("host", ["127.0.0.1"])[-1], int(number(values, "port", 8000)))
        return Facts(
            addresses=() if "uds" in values else (address,),
            processes=int(number(values, "workers", 1)),
            stop_s=number(values, "workers_kill_timeout", 30),
        )


class GranianWSGIServer(GranianASGIServer):
    defaults: ClassVar[Mapping[str, Value]] = {"interface": "wsgi", "workers-kill-timeout": 30}

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, wsgi_application(self.app)]
