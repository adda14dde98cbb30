"""A file with the supervisor's process id."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from django_cfg.errors import ConfigurationError

#: Process ids fit into 22 bits on Linux; 0 would mean one's own process group.
_PID = re.compile(r"[1-9][0-9]{0,8}")
MOST_BYTES = 4096


@contextmanager
def pidfile(path: str | None) -> Iterator[None]:
    """Hold a pid file while the block runs; None: no file.

    Raises:
        ConfigurationError: another process holds it, it is something else, or it cannot be written.
    """
    if path is None:
        yield
        return
    while not _claim(path):
        pass  # its last holder took it away between our opening and our looking
    try:
        yield
    finally:
        _give_up(path)


def _claim(path: str) -> bool:
    """Look whose it is and write, under one lock; False: the file is no longer there under this name."""
    with _locked(path, os.O_RDWR | os.O_CREAT) as file:
        if not _is_still(path, file):
            return False
        holder = _holder(path, file)
        if holder is not None:
            raise ConfigurationError(f"pid file {path} belongs to process {holder}, which is running; stop it first")
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        return True


def _give_up(path: str) -> None:
    try:
        with _locked(path, os.O_RDWR) as file:
            if _read(file) == str(os.getpid()):
                os.unlink(path)
    except (ConfigurationError, OSError, UnicodeDecodeError):
        pass  # somebody took it away or put something else there: not ours any more


@contextmanager
def _locked(path: str, flags: int) -> Iterator[int]:
    try:
        # No link is followed: whoever may write the directory must not choose which file we overwrite.
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
    except OSError as error:
        raise ConfigurationError(f"pid file {path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _is_still(path: str, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file))
    except FileNotFoundError:
        return False


def _holder(path: str, file: int) -> int | None:
    try:
        text = _read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"pid file {path} cannot be read: {error}") from error
    if not text:
        return None
    if not _PID.fullmatch(text):
        raise ConfigurationError(f"{path} is not a pid file (it holds something else); name another --pid-file")
    pid = int(text)
    return pid if pid != os.getpid() and _runs(pid) else None


def _read(file: int) -> str:
    return os.pread(file, MOST_BYTES, 0).decode().strip()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
