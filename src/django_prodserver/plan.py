"""From an entry to everything that is known before it starts: its backend, argv and facts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.module_loading import import_string

from django_prodserver.backends.base import BaseProcessBackend, Facts
from django_prodserver.conf import Process
from django_prodserver.errors import ProdserverError


@dataclass(frozen=True)
class Plan:
    """One process, ready to be started, listed or written into a unit."""

    process: Process
    backend: BaseProcessBackend
    argv: list[str]
    facts: Facts

    @property
    def name(self) -> str:
        return self.process.name


def choose(processes: Mapping[str, Process], name: str) -> Process:
    """The process of that name.

    Raises:
        ProdserverError: there is none; with the names that there are.
    """
    if name in processes:
        return processes[name]
    close = difflib.get_close_matches(name, processes, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ProdserverError(f"no process named {name!r}; configured: {', '.join(processes)}.{hint}")


def plan(process: Process, overrides: Sequence[str] = ()) -> Plan:
    """Work out how a process is started; what it needs is installed afterwards, or this raises."""
    try:
        backend = load(process.backend)(**process.entry())
        backend.require()
        argv = backend.prep_server_args(overrides) if overrides else backend.prep_server_args()
        return Plan(process, backend, argv, _facts(process, backend, argv))
    except ProdserverError as error:
        raise ProdserverError(_named(process.name, str(error)), code=error.code) from error


def _facts(process: Process, backend: BaseProcessBackend, argv: Sequence[str]) -> Facts:
    facts = backend.facts(argv)
    return facts if process.stop_timeout is None else replace(facts, stop_s=process.stop_timeout)


def _named(name: str, text: str) -> str:
    return "\n".join(f"{name}: {line}" for line in text.splitlines())


def load(path: str) -> type[BaseProcessBackend]:
    """The class of a dotted path.

    Raises:
        ProdserverError: there is no such class, or it is no backend.
    """
    try:
        found = import_string(path)
    except ImportError as error:
        raise ProdserverError(f"BACKEND {path!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseProcessBackend)):
        raise ProdserverError(f"BACKEND {path!r} is not a subclass of BaseServerBackend or BaseWorkerBackend")
    return found
