"""The one reader of `PRODUCTION_PROCESSES`: typed entries, and every problem at once."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from django_prodserver.args import Value
from django_prodserver.errors import ProdserverError

SETTING = "PRODUCTION_PROCESSES"
KEYS = ("BACKEND", "ARGS", "APP", "RESTART", "STOP_TIMEOUT")
RESTARTS = ("always", "on-failure", "never")
EXAMPLE = f'{SETTING} = {{"web": {{"BACKEND": "django_prodserver.backends.gunicorn.GunicornServer", "ARGS": {{}}}}}}'


@dataclass(frozen=True)
class Process:
    """One entry.

    Attributes:
        name: what `prodserver NAME` is called with.
        backend: dotted path of the class that starts it.
        args: options by name, or a list of texts that goes to the server as it is.
        app: the application to serve, where the backend takes one; None: the project's.
        restart: when the process manager and the emitted units start it again.
        stop_timeout: seconds to finish after SIGTERM; None: what the backend works out.
    """

    name: str
    backend: str
    args: Mapping[str, Value] | list[str] = field(default_factory=dict)
    app: str | None = None
    restart: str = "always"
    stop_timeout: float | None = None

    def entry(self) -> dict[str, Any]:
        """The keyword arguments of a backend class."""
        return {"BACKEND": self.backend, "ARGS": self.args, "APP": self.app}


def read() -> dict[str, Process]:
    """The processes of this project, in the order in which they are written.

    Raises:
        ProdserverError: with a line for every problem.
    """
    written = getattr(settings, SETTING, None)
    if not written:
        raise ProdserverError(f"no processes are configured; write for example\n  {EXAMPLE}")
    if not isinstance(written, Mapping):
        raise ProdserverError(f"{SETTING} must be a dictionary of name and entry, got {type(written).__name__}")
    problems = [line for name, entry in written.items() for line in _problems(name, entry)]
    if problems:
        raise ProdserverError("\n".join(problems))
    return {name: _process(name, entry) for name, entry in written.items()}


def _process(name: str, entry: Mapping[str, Any]) -> Process:
    args = entry.get("ARGS")
    return Process(
        name=name,
        backend=entry["BACKEND"],
        args=shlex.split(args) if isinstance(args, str) else (args or {}),
        app=entry.get("APP"),
        restart=entry.get("RESTART", "always"),
        stop_timeout=entry.get("STOP_TIMEOUT"),
    )


def _problems(name: object, entry: object) -> Iterator[str]:
    here = f"{SETTING}[{name!r}]"
    if not isinstance(name, str) or not name or name.startswith("-"):
        yield f"{here}: a name must be text that does not start with a dash"
    if not isinstance(entry, Mapping):
        yield f"{here} must be a dictionary with BACKEND and ARGS, got {type(entry).__name__}"
        return
    for line in (*_unknown_keys(entry), *_wrong_values(entry)):
        yield f"{here}: {line}"


def _unknown_keys(entry: Mapping[Any, Any]) -> Iterator[str]:
    for key in entry:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key).upper(), KEYS, n=1)
            yield f"unknown key {key!r}; " + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KEYS)}")


def _wrong_values(entry: Mapping[Any, Any]) -> Iterator[str]:
    backend, app, timeout = entry.get("BACKEND"), entry.get("APP"), entry.get("STOP_TIMEOUT")
    if not isinstance(backend, str) or "." not in backend:
        yield f"BACKEND must be the dotted path of a class, got {backend!r}"
    if app is not None and not isinstance(app, str):
        yield f"APP must be text, got {app!r}"
    if entry.get("RESTART", "always") not in RESTARTS:
        yield f"RESTART must be one of {', '.join(RESTARTS)}, got {entry['RESTART']!r}"
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0):
        yield f"STOP_TIMEOUT must be a number of seconds above 0, got {timeout!r}"
    yield from _wrong_args(entry.get("ARGS"))


def _wrong_args(args: object) -> Iterator[str]:
    if args is None or isinstance(args, str):
        return
    if isinstance(args, list | tuple):
        yield from (f"ARGS as a list holds texts, got {item!r}" for item in args if not isinstance(item, str))
    elif isinstance(args, Mapping):
        yield from (f"ARGS: {name!r} is no option with a usable value: {v!r}" for name, v in args.items()
                    if not isinstance(name, str) or not _is_value(v))  # fmt: skip
    else:
        yield f"ARGS must be a dictionary of option and value, a list of texts or one text, got {args!r}"


def _is_value(value: object) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return all(item is None or isinstance(item, str | int | float | bool) for item in items)
