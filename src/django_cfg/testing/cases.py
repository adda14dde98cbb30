"""Mixins for Django's test cases."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from django_cfg.testing.kit import TaskKit, task_kit


class TasksMixin:
    """Gives each test `self.tasks`, a `TaskKit`. Stands in front of the test case class."""

    tasks: TaskKit

    def setUp(self) -> None:
        stack = ExitStack()
        self.tasks = stack.enter_context(task_kit())
        case: Any = self
        case.addCleanup(stack.close)
        self.prepare(stack)
        super().setUp()  # type: ignore[misc]  # a test case stands behind

    def prepare(self, stack: ExitStack) -> None:
        """What else lasts as long as the test."""


class EagerTasksMixin(TasksMixin):
    """As `TasksMixin`, and every task runs where it is sent."""

    def prepare(self, stack: ExitStack) -> None:
        stack.enter_context(self.tasks.eager())
