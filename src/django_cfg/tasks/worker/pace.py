"""How quickly a growing count grows. Pure."""

from __future__ import annotations


class Pace:
    """Compares a count with what it was a while ago.

    Parameters:
        window_s: over how many seconds, at least.
        now: a clock's seconds at a count of 0.
    """

    def __init__(self, window_s: float, now: float) -> None:
        self._window_s = window_s
        self._began, self._count, self._per_s = now, 0, 0.0

    def per_s(self, count: int, now: float) -> float:
        """By how much it grew in a second of the last whole window, which ended with a call."""
        passed = now - self._began
        if passed >= self._window_s:
            self._per_s = (count - self._count) / passed
            self._began, self._count = now, count
        return self._per_s
