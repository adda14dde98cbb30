"""Ends a wait from other threads: a pipe beside what the waiter selects on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SPENT_READ = 4096


class Bell:
    """One thread waits, any thread rings. Ringing while nobody waits only leaves a mark, which the next wait sees."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._ends = threading.Lock()
        self._is_closed = False
        self._is_heard = False
        self._has_rung = False

    # -- the waiting thread ----------------------------------------------------------------------------

    @contextmanager
    def heard(self) -> Iterator[bool]:
        """Around a wait; False if it has rung since the last one, and there is nothing to wait for."""
        self._is_heard = True  # from here on a ring writes to the pipe; an earlier one is seen now
        try:
            yield not self._has_rung
        finally:
            self._is_heard = False
            self._has_rung = False

    def fileno(self) -> int:
        """What to select on; readable when it rings."""
        return self._read_end

    def answer(self) -> None:
        """Make it silent again."""
        os.read(self._read_end, SPENT_READ)

    def close(self) -> None:
        """Give back the pipe; a ring that comes later does nothing."""
        with self._ends:
            self._is_closed = True
            os.close(self._read_end)
            os.close(self._write_end)

    # -- any thread ------------------------------------------------------------------------------------

    def ring(self) -> None:
        """End the wait that is going on, or the next one at once."""
        self._has_rung = True
        if not self._is_heard:
            return  # a write for each finished task would cost more than the task
        self._is_heard = False  # one write is enough
        with self._ends:
            if self._is_closed:
                return  # a task that outlived its worker; its pipe's number may be another file by now
            try:
                os.write(self._write_end, b"w")
            except BlockingIOError:
                pass  # the pipe is full of rings already
