"""How often a message came again, for brokers that do not tell a dead worker from an interrupted one."""

from __future__ import annotations

from django.db import models


class Redelivery(models.Model):
    """Counts of one message; each only says what somebody saw, so it does not matter who writes first.

    Attributes:
        seen: deliveries after the first.
        excused: of these, how many followed no worker's death: a graceful stop, a broken connection.
        runs: runs as a suspect whose end nobody wrote down.
    """

    message_id = models.CharField(max_length=64, primary_key=True)
    seen = models.IntegerField(default=0)
    excused = models.IntegerField(default=0)
    runs = models.IntegerField(default=0)
    noted_at = models.BigIntegerField(db_index=True)

    @property
    def deaths(self) -> int:
        """Runs that ended with the death of their process. Before it was a suspect one is assumed, whatever came
        with it; from then on only the suspect that ran is to blame."""
        return (self.seen > self.excused) + self.runs

    def __str__(self) -> str:
        return f"{self.message_id} {self.seen}-{self.excused}+{self.runs}"
