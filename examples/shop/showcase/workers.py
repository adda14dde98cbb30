"""The real worker command as a process of its own, stopped in every case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from showcase.options import Options
from showcase.state import PROJECT_DIR

STOP_WITHIN_S = 45  # above the workers' own shutdown timeout
TAIL_LINES = 20


class WorkersDied(Exception):
    """The worker command ended although there was work left."""


class Workers:
    """One `rundramatiq` command; use as `with running(...) as workers`."""

    def __init__(self, options: Options, log: Path) -> None:
        self.log = log
        self._command = [sys.executable, str(PROJECT_DIR / "manage.py"), "rundramatiq"]
        self._command += ["--processes", str(options.processes), "--threads", str(options.threads)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as out, _interrupts_wait():
            # A session of its own: Ctrl-C on the terminal reaches this script alone, which then asks nicely.
            self._process = subprocess.Popen(
                self._command,
                cwd=PROJECT_DIR,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise WorkersDied, with the end of the log, if the command has ended."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise WorkersDied(f"the worker command ended with code {code}; the end of {self.log}:\n{self._tail()}")

    def stop(self) -> None:
        """Ask the command to finish what runs, and wait; a second Ctrl-C ends it at once."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # The command leads its session, so this group is it and its children, and nobody else.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (empty)"


@contextmanager
def running(options: Options, log: Path) -> Iterator[Workers]:
    """Workers that are started here and stopped at the end, however the end comes."""
    workers = Workers(options, log)
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back for a moment, so that no process is started and then forgotten."""
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt
