"""Progress is stored whatever a task writes into its note."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from django_cfg.tasks import current_task
from django_cfg.tasks.records import current
from django_cfg.tasks.records.running import Running


def test_a_note_holds_nothing_that_a_database_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Running(SimpleNamespace(), 0.0)
    monkeypatch.setattr(current, "current", lambda: task)
    current_task().progress(1, 2, "a\0b\ud800")
    assert task.progress == (1.0, 2.0, "a\\x00b\\ud800")
