"""A file with the supervisor's process id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django_cfg.errors import ConfigurationError

#: Process ids fit into 22 bits on Linux; 0 would mean one's own process group.
_PID = re.compile(r"[1-9][0-9]{0,8}")


@contextmanager
def pidfile(path: str | None) -> Iterator[None]:
    """Hold a pid file while the block runs; None: no file.

    Raises:
        ConfigurationError: another process holds it, it is something else, or it cannot be written.
    """
    if path is None:
        yield
        return
    _claim(path)
    try:
        yield
    finally:
        Path(path).unlink(missing_ok=True)


def _claim(path: str) -> None:
    holder = _holder(path)
    if holder is not None:
        raise ConfigurationError(f"pid file {path} belongs to process {holder}, which is running; stop it first")
    try:
        # No link is followed: whoever may write the directory must not choose which file we overwrite.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise ConfigurationError(f"pid file {path} cannot be written: {error.strerror}") from error
    with os.fdopen(fd, "w") as file:
        file.write(f"{os.getpid()}\n")


def _holder(path: str) -> int | None:
    try:
        text = Path(path).read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"pid file {path} cannot be read: {error}") from error
    if not text:
        return None
    if not _PID.fullmatch(text):
        raise ConfigurationError(f"{path} is not a pid file (it holds something else); name another --pid-file")
    pid = int(text)
    return pid if pid != os.getpid() and _runs(pid) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
