"""The demo's own directory: emptied at the start, never anybody else's."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from showcase.options import Options

PROJECT_DIR = Path(__file__).resolve().parent.parent
DEFAULT_STATE_DIR = PROJECT_DIR.parent.parent / ".demo"
LOCK = "demo.lock"  # also the mark by which a directory is known as ours


class StateError(Exception):
    """The state directory cannot be used."""


def prepare(options: Options) -> IO[str]:
    """Make the state directory, tell the project about it, and return a lock to hold while the demo runs.

    Raises:
        StateError: another demo uses the directory, or it holds files that are not the demo's.
    """
    directory = Path(os.environ.get("SHOP_STATE_DIR") or DEFAULT_STATE_DIR).resolve()
    if not options.keep:
        _remove(directory)
    for folder in (directory, directory / "mail", directory / "media"):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="api.settings",
        SHOP_STATE_DIR=str(directory),
        SHOP_MAIL_DIR=str(directory / "mail"),
        SHOP_BROKER_URL=options.broker,
        SHOP_EMBEDDER=options.embedder,
    )
    return _locked(directory)


def _remove(directory: Path) -> None:
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / LOCK).exists():
        raise StateError(f"{directory} holds files that are not the demo's; empty it or set SHOP_STATE_DIR")
    with _locked(directory):
        shutil.rmtree(directory)


def _locked(directory: Path) -> IO[str]:
    lock = (directory / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StateError(f"another demo is running in {directory}") from None
    return lock
