"""One process of the process manager: its start, its output, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from django_prodserver.launch import PARENT_VARIABLE
from django_prodserver.policy import Restarts

#: After this many seconds a process that does not listen yet no longer holds up the next one.
READY_S = 30.0
CHUNK = 65536


@dataclass
class Slot:
    """A place for one process, which may run in it several times.

    Attributes:
        command: its command line.
        stop_s: seconds from SIGTERM to SIGKILL.
        address: where it listens once it is ready; None: it is ready as soon as it runs.
        not_before: the monotonic time of its next start.
        is_over: it will not be started again.
    """

    name: str
    command: Sequence[str]
    restarts: Restarts
    stop_s: float
    address: tuple[str, int] | None = None
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    is_over: bool = False
    rest: bytes = b""

    def start(self) -> IO[bytes]:
        """Run it; returns the end of the pipe that it writes to."""
        self.running = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
            # Ctrl-C in a terminal must reach the manager alone, or everything would be told twice.
            start_new_session=True,
        )
        self.started = time.monotonic()
        os.set_blocking(self.output.fileno(), False)
        return self.output

    @property
    def output(self) -> IO[bytes]:
        assert self.running is not None and self.running.stdout is not None
        return self.running.stdout

    @property
    def is_ready(self) -> bool:
        """Whether the next process may start."""
        if self.is_over or time.monotonic() - self.started > READY_S:
            return True
        if self.running is None:
            return False
        return self.address is None or answers(self.address)

    @property
    def is_due(self) -> bool:
        return self.running is None and not self.is_over and time.monotonic() >= self.not_before

    @property
    def has_ended(self) -> bool:
        return self.running is not None and self.running.poll() is not None

    def lines(self) -> Iterator[str]:
        """Whole lines that it has written since the last look."""
        try:
            while data := os.read(self.output.fileno(), CHUNK):
                *whole, self.rest = (self.rest + data).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        except BlockingIOError:
            return

    def last_lines(self) -> Iterator[str]:
        """What is left when it has ended, also a line without an end."""
        yield from self.lines()
        if self.rest:
            yield self.rest.decode(errors="replace")
        self.rest = b""

    def end(self) -> int:
        """Forget the process that ended; returns its exit code, negative for a signal."""
        assert self.running is not None
        # Children of a server that was killed would hold its port against the next one.
        self._tell_session(signal.SIGTERM)
        self.output.close()
        code, self.running = self.running.returncode, None
        return int(code)

    def tell(self, number: signal.Signals) -> None:
        if self.running is not None:
            self.running.send_signal(number)

    def kill(self) -> None:
        """The process and everything that it started in its session."""
        self._tell_session(signal.SIGKILL)

    def _tell_session(self, number: signal.Signals) -> None:
        if self.running is not None:
            try:
                os.killpg(self.running.pid, number)
            except ProcessLookupError:
                pass  # nobody is left in it


def answers(address: tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    host, port = address
    try:
        socket.create_connection(("127.0.0.1" if host in ("0.0.0.0", "") else host, port), timeout=1).close()
    except OSError:
        return False
    return True
