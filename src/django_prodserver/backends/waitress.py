"""Waitress: WSGI in pure Python, everywhere; it drops what runs when it is told to stop."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from django_prodserver.apps_to_serve import wsgi_application
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, host_and_port, number
from django_prodserver.options import Many, Option, Options, Takes

HOST, PORT = "0.0.0.0", 8080


class WaitressServer(ModuleBackend, BaseServerBackend):
    package = extra = module = "waitress"
    script = "waitress-serve"

    def options(self) -> Options:
        self.require()
        adjustments = importlib.import_module("waitress.adjustments")
        table: dict[str, Option] = {"call": Option("--call", "call", Takes.NOTHING)}
        for name, cast in adjustments.Adjustments._params:
            table |= _spellings(name, is_flag=cast is adjustments.asbool)
        return Options(table, abbreviations=True)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, wsgi_application(self.app)]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        if "unix_socket" in values:
            return Facts(stop_s=5)
        listens = " ".join(values.get("listen", [])).replace("*", HOST).split()
        own = f"{values.get('host', [HOST])[-1]}:{int(number(values, 'port', PORT))}"
        addresses = [host_and_port(text, PORT) for text in listens or [own]]
        return Facts(addresses=tuple(address for address in addresses if address), stop_s=5)


def _spellings(name: str, *, is_flag: bool) -> dict[str, Option]:
    flag, off = f"--{name.replace('_', '-')}", f"--no-{name.replace('_', '-')}"
    if is_flag:
        return {
            flag.lstrip("-"): Option(flag, name, Takes.NOTHING, off=off),
            off.lstrip("-"): Option(off, name, Takes.NOTHING, off=flag),
        }
    return {flag.lstrip("-"): Option(flag, name, many=Many.REPEATED if name == "listen" else Many.REFUSED)}
