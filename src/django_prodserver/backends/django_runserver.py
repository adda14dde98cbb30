"""Django's development server; never for production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

from django.apps import apps

from django_prodserver import launch
from django_prodserver.backends.base import BaseServerBackend, CommandBackend, Facts, host_and_port
from django_prodserver.errors import ProdserverError


class DjangoRunserver(CommandBackend, BaseServerBackend):
    name = "runserver"
    positional = "addrport"
    #: An app that must be installed, because it brings its own `runserver`.
    app_needed: ClassVar[str] = ""

    def require(self) -> None:
        super().require()
        if self.app_needed and not apps.is_installed(self.app_needed):
            raise ProdserverError(f"{type(self).__name__}: add {self.app_needed!r} to INSTALLED_APPS")

    def facts(self, argv: Sequence[str]) -> Facts:
        written = [word for word in argv if not word.startswith("-")]
        text = written[-1] if written else "127.0.0.1:8000"
        address = host_and_port(f":{text}" if text.isdigit() else text, 8000)
        return Facts(addresses=(address,) if address else (), stop_s=5)

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        return Facts(stop_s=5)

    def start_server(self, *argv: str) -> NoReturn:
        # Its reloader starts the whole command line again, which has to be the one that it knows.
        launch.execute(self.command(argv))
