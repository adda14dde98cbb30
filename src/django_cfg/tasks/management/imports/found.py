"""What an import finds and does."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Found:
    """Counts of one import.

    Attributes:
        waiting: tasks that this project knows, by path.
        unknown: tasks that it does not know, by path; they stay where they are.
        running: tasks that a worker of the other system has in hand; they stay, too.
        moved: how many are ours now.
        refused: tasks that our backend does not take, by id and with the reason; they stay, too.
    """

    waiting: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    running: int = 0
    moved: int = 0
    refused: list[str] = field(default_factory=list)
