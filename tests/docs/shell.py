"""Run as a child in a project's directory: executes blocks of Python like `manage.py shell`, one JSON line each."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import sys
import traceback
import types
from pathlib import Path


def start_django() -> None:
    manage = Path("manage.py")
    if not manage.exists():
        return
    found = re.search(r"DJANGO_SETTINGS_MODULE['\"], ['\"]([\w.]+)", manage.read_text())
    assert found is not None, "manage.py names no settings"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", found[1])
    import django  # only where there is a project

    django.setup()


def run(code: str, place: str, line: int, names: dict[str, object]) -> dict[str, str]:
    """Execute one block; the answer has what it printed, and the traceback if it failed."""
    output = io.StringIO()
    try:
        tree = ast.increment_lineno(ast.parse(code, place), line - 1)
        with contextlib.redirect_stdout(output):
            exec(compile(tree, place, "exec"), names)
    except BaseException:  # noqa: BLE001 - the outermost frame of a block
        return {"output": output.getvalue(), "error": traceback.format_exc()}
    return {"output": output.getvalue(), "error": ""}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path[0] = os.getcwd()  # instead of the directory of this file
    start_django()
    page = sys.modules["page"] = types.ModuleType("page")
    for request in sys.stdin:
        answers.write(json.dumps(run(*json.loads(request), page.__dict__)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
