"""Where the project lives: the directory with manage.py."""

from __future__ import annotations

from pathlib import Path

MARKER = "manage.py"


def find_base_dir(config_file: str | None, fallback: Path) -> Path:
    """The nearest directory at or above the configuration's module that holds manage.py.

    Args:
        config_file: path of the module that defines the configuration; None in a shell.
        fallback: the answer when there is no such directory.
    """
    if config_file is None:
        return fallback
    above = Path(config_file).resolve().parents
    return next((directory for directory in above if (directory / MARKER).is_file()), fallback)
