"""When a process that ended is started again. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from django_prodserver.errors import USAGE

#: A life below this many seconds is a failed start.
SHORT_LIFE_S = 5.0
FAILED_STARTS = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


class Next(Enum):
    """What follows the end of a process."""

    RESTART = "restart"
    DONE = "done"
    GIVE_UP = "give up"


@dataclass
class Restarts:
    """The count of one process.

    Args:
        rule: "always", "on-failure" or "never".
    """

    rule: str
    failed_starts: int = 0
    pause_s: float = 0.0

    def ended(self, code: int, lived_s: float) -> Next:
        """Decide; `pause_s` says how long to wait before a restart."""
        if self.rule == "never" or (self.rule == "on-failure" and code == 0):
            return Next.DONE if code == 0 else Next.GIVE_UP
        self.failed_starts = self.failed_starts + 1 if lived_s < SHORT_LIFE_S else 0
        if code == USAGE or self.failed_starts >= FAILED_STARTS:
            return Next.GIVE_UP  # wrong configuration does not heal by itself
        self.pause_s = min(FIRST_PAUSE_S * 2 ** max(self.failed_starts - 1, 0), LONGEST_PAUSE_S)
        return Next.RESTART
