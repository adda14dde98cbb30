"""`prodserver --all`: starts processes in order, shows what they say, restarts and stops them. One thread."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Sequence

from django_prodserver.policy import Next
from django_prodserver.slot import Slot
from django_prodserver.wakeup import Wakeup

#: Longest sleep of the loop while something is about to happen, and else; signals end both.
TICK_S, IDLE_S = 0.1, 5.0


class Manager:
    """Keeps all processes running until a signal, or until one cannot be kept.

    Args:
        slots: in the order of their start; they are told to stop in the opposite order.
        write: takes one line of output.
    """

    def __init__(self, slots: Sequence[Slot], write: Callable[[str], None]) -> None:
        self._slots = list(slots)
        self._waiting = list(slots)
        self._write = write
        self._width = max(len(slot.name) for slot in slots)
        self._stop_since: float | None = None
        self._code = 0

    def run(self) -> int:
        """Manage. 0: stopped as told, or nothing is left to do; 1: something had to be killed; else the code
        of the process that could not be kept."""
        with Wakeup(self._on_signal) as wakeup, selectors.DefaultSelector() as selector:
            self._wakeup, self._selector = wakeup, selector
            selector.register(wakeup, selectors.EVENT_READ)
            while not self._is_finished():
                self._start_due()
                self._listen()
                self._reap()
                self._kill_overdue()
        return self._code

    def _is_finished(self) -> bool:
        if any(slot.running for slot in self._slots):
            return False
        return self._stop_since is not None or all(slot.is_over for slot in self._slots)

    def _start_due(self) -> None:
        if self._stop_since is not None:
            return
        started = self._slots[: len(self._slots) - len(self._waiting)]
        if self._waiting and all(slot.is_ready for slot in started):
            self._show(started)
            started.append(self._waiting.pop(0))
        for slot in started:
            if slot.is_due:
                self._selector.register(slot.start(), selectors.EVENT_READ, slot)
                self._say(slot, f"started, pid {slot.running.pid if slot.running else 0}")

    def _listen(self) -> None:
        is_busy = self._waiting or self._stop_since is not None or not all(s.running or s.is_over for s in self._slots)
        for key, _ in self._selector.select(TICK_S if is_busy else IDLE_S):
            if isinstance(key.data, Slot):
                self._show([key.data])
            else:
                self._wakeup.clear()

    def _show(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            for line in slot.lines() if slot.running else ():
                self._say(slot, line)

    def _say(self, slot: Slot, text: str) -> None:
        self._write(f"{slot.name.ljust(self._width)} | {text}")

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.has_ended:
                for line in slot.last_lines():
                    self._say(slot, line)
                self._selector.unregister(slot.output)
                self._ended(slot, slot.end())

    def _ended(self, slot: Slot, code: int) -> None:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say(slot, how)
        if self._stop_since is not None:
            return
        following = slot.restarts.ended(code, time.monotonic() - slot.started)
        slot.is_over = following is not Next.RESTART
        slot.not_before = time.monotonic() + slot.restarts.pause_s
        if following is Next.GIVE_UP:
            self._code = code if code > 0 else 1
            self._stop(f"{slot.name} cannot be kept running")

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop_since is not None and number == signal.SIGINT:
            self._kill(self._slots)
        self._stop(f"{number.name} received")

    def _stop(self, reason: str) -> None:
        if self._stop_since is not None:
            return
        self._stop_since = time.monotonic()
        self._write(f"{reason}; stopping everything")
        for slot in reversed(self._slots):
            slot.tell(signal.SIGTERM)

    def _kill_overdue(self) -> None:
        if self._stop_since is not None:
            late_s = time.monotonic() - self._stop_since
            self._kill([slot for slot in self._slots if slot.running and late_s > slot.stop_s])

    def _kill(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if slot.running is not None:
                self._say(slot, "had to be killed")
                self._code = self._code or 1
                slot.kill()
