"""Hypercorn: ASGI with HTTP/2; it drops what runs when it is told to stop."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django_prodserver.apps_to_serve import asgi_application
from django_prodserver.backends.base import BaseServerBackend, Facts, ModuleBackend, host_and_port, number
from django_prodserver.options import Many, Option, Options
from django_prodserver.readers import from_help

#: Options that may be given several times, which its help does not say.
REPEATED = frozenset({"bind", "insecure-bind", "quic-bind", "server-name"})


class HypercornServer(ModuleBackend, BaseServerBackend):
    package = extra = module = script = "hypercorn"

    def options(self) -> Options:
        self.require()
        return Options({name: _repeated(option) for name, option in from_help(_help()).items()}, abbreviations=True)

    def arguments(self, argv: Sequence[str]) -> list[str]:
        return [*argv, asgi_application(self.app)]

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        binds = [host_and_port(text, 8000) for text in values.get("bind", ["127.0.0.1:8000"])]
        return Facts(
            addresses=tuple(bind for bind in binds if bind is not None),
            processes=int(number(values, "workers", 1)),
            stop_s=number(values, "graceful_timeout", 3) + 5,
        )


def _help() -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module("hypercorn.__main__").main(["--help"])
    return text.getvalue()


def _repeated(option: Option) -> Option:
    return replace(option, many=Many.REPEATED) if option.flag.lstrip("-") in REPEATED else option
