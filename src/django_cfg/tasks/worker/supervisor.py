"""The parent of worker processes: forks them, replaces the dead, passes on the word to stop.

Single-threaded, and without any connection: so it can fork again at any time.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import connections
from dramatiq.logging import get_logger

logger = get_logger(__name__)

#: Time above the workers' own shutdown timeout before they are killed, in seconds.
GRACE_S = 8.0
SHORT_LIFE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
LONGEST_NAP_S = 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


#: A name for the log, and what the process runs. It gets the read end of the leash, and the stop signals are
#: blocked until it has its own handlers and lets them in.
Main = tuple[str, Callable[[int], None]]


@dataclass
class Child:
    """One process slot."""

    name: str
    main: Callable[[int], None]
    pid: int = 0
    started: float = 0.0
    pause_s: float = 0.0
    not_before: float = 0.0


class Supervisor:
    """Keeps processes running until a signal ends it.

    Parameters:
        mains: the processes to keep running.
        shutdown_timeout_ms: how long workers may take to finish what runs.
    """

    def __init__(self, mains: Sequence[Main], shutdown_timeout_ms: int) -> None:
        self._children = [Child(name, main) for name, main in mains]
        self._kill_after_s = shutdown_timeout_ms / 1000 + GRACE_S
        self._stopping_since: float | None = None
        self._killed = False
        self._is_announced = False
        self._leash_read, self._leash_write = os.pipe()
        self._wake, self._ring = os.pipe()

    def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Supervise. Returns 0 after a graceful end, 1 if a worker had to be killed.

        Parameters:
            on_ready: called once, when every process runs and signals stop them gracefully.
        """
        self._prepare()
        self._start_missing()
        on_ready()
        while self._stopping_since is None or any(child.pid for child in self._children):
            self._start_missing()
            self._nap()
            self._announce_stop()
            self._reap()
            self._kill_overdue()
        return int(self._killed)

    # -- set-up ----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        connections.close_all()
        extra = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        if extra:
            logger.warning("Threads run before the fork (%s); they do not exist in workers.", ", ".join(extra))
        gc.collect()
        gc.freeze()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._ring, False)
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)

    def _on_stop(self, number: int, _frame: object) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._tell(signal.SIGTERM)
        elif number == signal.SIGINT:
            self._kill_after_s = 0.0

    # -- the loop --------------------------------------------------------------------------------------

    def _start_missing(self) -> None:
        for child in self._children:
            if not child.pid and self._stopping_since is None and time.monotonic() >= child.not_before:
                self._start(child)

    def _start(self, child: Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal between the fork and the child's own handlers would run ours there: the child would not stop,
        # and its siblings would. So it waits until the child has its handlers (`child.run` lets it in).
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become(child)
        child.pid, child.started = pid, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        logger.info("Started %s (pid %d).", child.name, pid)
        if self._stopping_since is not None:
            os.kill(pid, signal.SIGTERM)  # the signal came between the decision and the fork

    def _become(self, child: Child) -> None:
        """The forked side; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._leash_write, self._wake, self._ring):
                os.close(end)
            child.main(self._leash_read)
            code = 0
        except BaseException:  # noqa: BLE001 - the outermost frame of a process
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _announce_stop(self) -> None:
        """Here and not in the signal handler, which may have interrupted another log call."""
        if self._stopping_since is not None and not self._is_announced:
            self._is_announced = True
            logger.info("Stopping: running tasks may end, the rest goes back. A second Ctrl-C stops at once.")

    def _nap(self) -> None:
        readable, _, _ = select.select([self._wake], [], [], LONGEST_NAP_S)
        if readable:
            os.read(self._wake, 4096)

    def _reap(self) -> None:
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        pid, child.pid = child.pid, 0
        if self._stopping_since is not None:
            logger.info("%s (pid %d) has stopped.", child.name, pid)
            return
        lived_s = time.monotonic() - child.started
        child.pause_s = min(max(child.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if lived_s < SHORT_LIFE_S else 0
        child.not_before = time.monotonic() + child.pause_s
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        logger.error("%s (pid %d) %s; replacing it in %.1f s.", child.name, pid, how, child.pause_s)

    def _kill_overdue(self) -> None:
        since = self._stopping_since
        if since is not None and time.monotonic() - since >= self._kill_after_s:
            self._killed = self._killed or any(child.pid for child in self._children)
            self._tell(signal.SIGKILL)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                try:
                    os.kill(child.pid, number)
                except ProcessLookupError:
                    pass  # it ended by itself and is not reaped yet
