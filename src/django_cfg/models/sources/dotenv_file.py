"""A `.env` file: its variables with file and line. A file that does not exist says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from django_cfg.models.problem import Problem
from django_cfg.models.sources.layer import Entry

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")


def read_dotenv(file: Path, environ: Mapping[str, str]) -> tuple[dict[str, Entry], list[Problem]]:
    """Variables and problems of one file.

    `${NAME}` and `${NAME:-default}` are expanded from the environment and from earlier lines; a name that
    is nowhere stays as it is, and is reported where the value is used.
    """
    if not file.is_file():
        return {}, []
    found: dict[str, Entry] = {}
    problems: list[Problem] = []
    for binding in parse_stream(StringIO(file.read_text(encoding="utf-8-sig"))):
        origin = f"{file}:{binding.original.line}"
        if binding.error:
            problems.append(Problem(("env_file",), "this line is no NAME=value", origin, cure="correct it"))
        elif binding.key is not None:
            found[binding.key] = Entry(_expanded(binding.value or "", environ, found), origin)
    return found, problems


def _expanded(text: str, environ: Mapping[str, str], earlier: Mapping[str, Entry]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if name in environ:
            return environ[name]
        if name in earlier:
            return str(earlier[name].value)
        return match[0] if match["default"] is None else match["default"]

    return _REFERENCE.sub(value, text)
