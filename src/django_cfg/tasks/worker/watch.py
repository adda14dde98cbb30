"""Development: run the workers in a process of their own and start it anew when a Python file changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.utils.autoreload import StatReloader
from dramatiq.logging import get_logger

logger = get_logger(__name__)
LOOK_S = 0.5
SETTLE_S = 0.2


def watch(command: Sequence[str], directory: Path) -> int:
    """Run `command` until a signal ends it, restarting it after each change below `directory`."""
    return _Watcher(command, directory).run()


class _Watcher:
    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._command = list(command)
        self._reloader = StatReloader()
        self._reloader.watch_dir(directory, "**/*.py")
        self._is_stopping = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        seen = self._snapshot()
        self._process = self._start()
        while not self._is_stopping:
            time.sleep(LOOK_S)
            now = self._snapshot()
            if now != seen:
                time.sleep(SETTLE_S)  # editors and branch switches write many files
                seen = self._snapshot()
                logger.info("Python files changed; restarting the workers.")
                self._stop()
                if not self._is_stopping:
                    self._process = self._start()
        return self._stop()

    def _snapshot(self) -> dict[Any, float]:
        return dict(self._reloader.snapshot_files())

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)

    def _stop(self) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait()

    def _on_stop(self, number: int, _frame: object) -> None:
        self._is_stopping = True


def command_without_watch(argv: Sequence[str]) -> list[str]:
    """The command line of this process without its `--watch` option, however it was spelled."""
    kept: list[str] = []
    before = ""
    for word in argv:
        is_directory = _is_watch(before) and not word.startswith("-")
        if not (is_directory or _is_watch(word.partition("=")[0])):
            kept.append(word)
        before = word
    return [sys.executable, *kept]


def _is_watch(word: str) -> bool:
    """Options may be shortened; no other option of the command begins with `--w`."""
    return len(word) > 2 and "--watch".startswith(word)
