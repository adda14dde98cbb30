"""Uvicorn: ASGI, and WSGI through its adapter."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

from django_prodserver.apps_to_serve import asgi_application, wsgi_application
from django_prodserver.args import Value
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, number
from django_prodserver.backends.forking import fork_instead_of_spawn
from django_prodserver.options import Options
from django_prodserver.readers import from_click


class UvicornServer(ModuleBackend, BaseServerBackend):
    package = extra = module = script = "uvicorn"
    # Its own default is to wait for ever. Django's ASGI handler has no lifespan to speak of.
    defaults: ClassVar[Mapping[str, Value]] = {"timeout-graceful-shutdown": 30, "lifespan": "off"}

    def options(self) -> Options:
        self.require()
        return Options(from_click(importlib.import_module("uvicorn.main").main.params))

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, asgi_application(self.app)]

    def start_server(self, *argv: str) -> NoReturn:
        fork_instead_of_spawn(importlib.import_module("uvicorn._subprocess"))
        super().start_server(*argv)

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        address = (values.get("host", ["127.0.0.1"])[-1], int(number(values, "port", 8000)))
        return Facts(
            addresses=() if values.keys() & {"uds", "fd"} else (address,),
            processes=int(number(values, "workers", 1)),
            stop_s=number(values, "timeout_graceful_shutdown", 30),
        )


class UvicornWSGIServer(UvicornServer):
    defaults: ClassVar[Mapping[str, Value]] = {"timeout-graceful-shutdown": 30, "interface": "wsgi"}

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, wsgi_application(self.app)]
