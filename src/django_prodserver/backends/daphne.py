"""Daphne: ASGI on Twisted. The development server of the same name is here too."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from django_prodserver.apps_to_serve import asgi_application
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, number
from django_prodserver.backends.django_runserver import DjangoRunserver
from django_prodserver.options import Options
from django_prodserver.readers import from_argparse


class DaphneServer(ModuleBackend, BaseServerBackend):
    package = extra = module = script = "daphne"

    def options(self) -> Options:
        self.require()
        parser = importlib.import_module("daphne.cli").CommandLineInterface().parser
        return Options(from_argparse(parser), abbreviations=True)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, asgi_application(self.app)]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        address = (values.get("host", ["127.0.0.1"])[-1], int(number(values, "port", 8000)))
        elsewhere = values.keys() & {"unix_socket", "file_descriptor", "socket_strings"}
        return Facts(addresses=() if elsewhere else (address,), stop_s=15)


class DaphneRunserver(DjangoRunserver):
    """`runserver` of an app that serves ASGI in development."""

    package = extra = "daphne"
    app_needed = "daphne"
