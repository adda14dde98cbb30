"""`prodserver --list`: what is configured, for people and for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from django_prodserver.conf import Process
from django_prodserver.errors import ProdserverError
from django_prodserver.plan import plan

SCHEMA = 1
HEADINGS = ("NAME", "BACKEND", "STATUS", "ARGUMENTS")


def rows(processes: Iterable[Process]) -> list[dict[str, object]]:
    """One row a process; a process that cannot be started says why instead of its arguments."""
    return [_row(process) for process in processes]


def _row(process: Process) -> dict[str, object]:
    row: dict[str, object] = {"name": process.name, "backend": process.backend, "restart": process.restart}
    try:
        planned = plan(process)
    except ProdserverError as error:
        return {**row, "problem": str(error).removeprefix(f"{process.name}: ")}
    addresses = [f"{host}:{port}" for host, port in planned.facts.addresses]
    facts = {"argv": planned.argv, "listens": addresses, "stop_timeout_s": planned.facts.stop_s}
    return {**row, **facts, "problem": None}


def as_json(processes: Iterable[Process]) -> str:
    return json.dumps({"schema": SCHEMA, "processes": rows(processes)}, indent=2)


def as_table(processes: Iterable[Process]) -> str:
    """Columns as wide as their widest cell; the last one ends where it ends."""
    lines = [HEADINGS, *(_cells(row) for row in rows(processes))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS) - 1)]
    return "\n".join("  ".join([*map(str.ljust, line, widths), line[-1]]).rstrip() for line in lines)


def _cells(row: dict[str, object]) -> tuple[str, str, str, str]:
    backend = str(row["backend"]).removeprefix("django_prodserver.backends.")
    if row["problem"]:
        return str(row["name"]), backend, "cannot start", str(row["problem"]).splitlines()[0]
    argv = row["argv"]
    return str(row["name"]), backend, "ready", shlex.join(argv) if isinstance(argv, list) else ""
