"""The last step: a server's own main function, in this process or in a fresh image of it."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from django.core.management import ManagementUtility
from django.db import connections

#: Set by the process manager in what it starts, so that no process outlives it.
PARENT_VARIABLE = "DJANGO_PRODSERVER_PARENT"


def project_directory() -> Path:
    """Where manage.py stands, else where the command was called."""
    script = Path(sys.argv[0])
    return script.resolve().parent if script.name == "manage.py" and script.exists() else Path.cwd()


def manage_command() -> list[str]:
    """The words that call this project's commands: manage.py where there is one."""
    script = Path(sys.argv[0])
    if script.name == "manage.py" and script.exists():
        return [sys.executable, str(script)]
    return [sys.executable, "-m", "django"]


def run_module(module: str, script: str, arguments: Sequence[str]) -> NoReturn:
    """`python -m MODULE` in this process: Django is loaded already, so nothing is imported twice.

    Args:
        script: name of the server's console script; servers that start themselves anew call argv[0].
    """
    connections.close_all()
    sys.argv = [shutil.which(script, path=str(Path(sys.executable).parent)) or script, *arguments]
    sys.stdout.flush()
    # Asking for its options may have imported it; runpy wants to be the first.
    sys.modules.pop(f"{module}.__main__", None)
    runpy.run_module(module, run_name="__main__")
    sys.exit(0)


def run_command(name: str, arguments: Sequence[str]) -> NoReturn:
    """A management command of the project, in this process, as if it had been called itself."""
    connections.close_all()
    sys.argv = [sys.argv[0], name, *arguments]
    sys.stdout.flush()
    ManagementUtility(sys.argv).execute()
    sys.exit(0)


def execute(command: Sequence[str]) -> NoReturn:
    """Replace this process by the command; it finds the same modules as manage.py does."""
    connections.close_all()
    path = [str(project_directory()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], list(command))
