"""What a backend is: a class that turns an entry into an argv, and starts it.

A backend of your own subclasses `ServerBackend` or `CommandBackend`, or `BaseServerBackend` with a
`start_server` that does anything at all.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from django.core.management import get_commands, load_command_class

from django_prodserver import launch
from django_prodserver.args import Value, given, overridden, scan, translate
from django_prodserver.backends.queue_depth import Trigger
from django_prodserver.errors import ProdserverError
from django_prodserver.options import Options
from django_prodserver.readers import from_argparse

DISTRIBUTION = "django-cfg-tasks"
STOP_S = 30.0


@dataclass(frozen=True)
class Facts:
    """What the rest must know of a process before it runs.

    Attributes:
        addresses: where it will listen, as (host, port); empty for workers and sockets.
        processes: how many processes of it use the database.
        stop_s: seconds that it may need to finish after SIGTERM.
    """

    addresses: tuple[tuple[str, int], ...] = ()
    processes: int = 1
    stop_s: float = STOP_S


class BaseProcessBackend:
    """An entry of `PRODUCTION_PROCESSES` on its way to an argv."""

    #: The package that must be installed, and the extra that installs it.
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    #: Options that the server should have and that ARGS may say otherwise.
    defaults: ClassVar[Mapping[str, Value]] = {}
    #: An option of ARGS that the server takes as positions.
    positional: ClassVar[str] = ""
    is_web: ClassVar[bool] = False

    def __init__(self, **entry: Any) -> None:
        self.args: Mapping[str, Value] | list[str] = entry.get("ARGS") or {}
        self.app: str | None = entry.get("APP")

    def require(self) -> None:
        """Refuse when what it starts is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ProdserverError(
                f"{type(self).__name__} needs the package {self.package!r}, which is not installed; "
                f"pip install '{DISTRIBUTION}[{self.extra or self.package}]'"
            )

    def options(self) -> Options | None:
        """What the server accepts; None when it cannot be asked."""
        return None

    def prep_server_args(self, overrides: Sequence[str] = ()) -> list[str]:
        """The argv of the server without its name: ARGS, then what the command line said instead."""
        options = self.options()
        if options is None or isinstance(self.args, list):
            return self._unchanged(overrides, options)
        _refuse_unknown("after --", overrides, options)
        values = {**self._defaults(options), **self.args}
        positions = values.pop(self.positional, None) if self.positional else None
        argv = translate(overridden(values, overrides, options), options)
        return [*argv, *overrides, *(_positions(positions) if positions is not None else [])]

    def _unchanged(self, overrides: Sequence[str], options: Options | None) -> list[str]:
        argv = list(self.args) if isinstance(self.args, list) else translate(self.args, None)
        if options is not None:
            _refuse_unknown("ARGS", argv, options)
            _refuse_unknown("after --", overrides, options)
        return [*argv, *overrides]

    def _defaults(self, options: Options) -> dict[str, Value]:
        written = {options.find(name).dest for name in self.args if options.knows(name)}
        return {
            name: value
            for name, value in self.defaults.items()
            if options.knows(name) and options.find(name).dest not in written
        }

    def facts(self, argv: Sequence[str]) -> Facts:
        """What the process will be like with this argv."""
        options = self.options()
        return self.read_facts(given(argv, options)) if options is not None else Facts()

    def read_facts(self, values: Mapping[str, list[str]]) -> Facts:
        return Facts()

    def queue_depth(self, argv: Sequence[str]) -> list[Trigger]:
        """How an autoscaler can ask how much work waits; empty where it cannot."""
        return []

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that does the same without prodserver."""
        raise ProdserverError(f"{type(self).__name__} has no command line of its own, which --exec and --dry-run need")

    def start_server(self, *argv: str) -> None:
        """Become the server; returns only if the server does."""
        raise NotImplementedError(f"{type(self).__name__} must define start_server(*argv)")


class BaseServerBackend(BaseProcessBackend):
    """A process that answers requests."""

    is_web = True


class BaseWorkerBackend(BaseProcessBackend):
    """A process that runs tasks."""


class ModuleBackend(BaseProcessBackend):
    """A program that is started as `python -m MODULE`."""

    module: ClassVar[str]
    script: ClassVar[str]

    def arguments(self, argv: Sequence[str]) -> list[str]:
        """The whole command line after the program's name: argv and what to serve."""
        return list(argv)

    def command(self, argv: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", self.module, *self.arguments(argv)]

    def start_server(self, *argv: str) -> NoReturn:
        launch.run_module(self.module, self.script, self.arguments(argv))


class CommandBackend(BaseWorkerBackend):
    """A worker that is a management command of some app."""

    name: ClassVar[str]
    #: What to do when the project has no such command.
    missing: ClassVar[str] = ""

    def require(self) -> None:
        super().require()
        if self.name not in get_commands():
            raise ProdserverError(f"{type(self).__name__}: this project has no command {self.name!r}; {self.missing}")

    def options(self) -> Options | None:
        app = get_commands().get(self.name)
        if app is None:
            return None
        command = load_command_class(app, self.name) if isinstance(app, str) else app
        return Options(from_argparse(command.create_parser("manage.py", self.name)), abbreviations=True)

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*launch.manage_command(), self.name, *argv]

    def start_server(self, *argv: str) -> NoReturn:
        launch.run_command(self.name, argv)


def _positions(value: Value) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [str(item) for item in items]


def _refuse_unknown(where: str, argv: Sequence[str], options: Options) -> None:
    try:
        list(scan(argv, options))
    except ValueError as problem:
        raise ProdserverError(f"{where}: {problem}") from problem


def number(values: Mapping[str, list[str]], name: str, default: float) -> float:
    """The last value of an option as a number; the server itself refuses what is none."""
    text = values.get(name, [""])[-1]
    try:
        return float(text)
    except ValueError:
        return default


def host_and_port(text: str, default_port: int) -> tuple[str, int] | None:
    """The address in `host:port`, `:port`, `[::1]:port` or `host`; None for sockets and descriptors."""
    if text.startswith(("unix:", "fd:", "fd://", "/")):
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        return text.strip("[]"), default_port
    return host.strip("[]") or "0.0.0.0", int(port)
