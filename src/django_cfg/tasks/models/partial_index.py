"""An index over some rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models


class PartialIndex(models.Index):
    """An index of the rows that `where` names, on databases that can use it so, and of all rows elsewhere.

    Unlike Django's `condition` it is no reason for a warning elsewhere: its fields are chosen to be right for all rows.

    Parameters:
        where: the rows.
        on: vendors that prove from a query that its rows are among them. SQLite only does so where the query repeats
            the words of `where`, or for NOT NULL.
    """

    def __init__(self, *, where: models.Q, on: Sequence[str] = ("postgresql", "sqlite"), **options: Any) -> None:
        super().__init__(**options)
        self.where = where
        self.on = tuple(on)

    def create_sql(self, model: type[models.Model], schema_editor: Any, using: str = "", **options: Any) -> Any:
        if schema_editor.connection.vendor not in self.on:
            return super().create_sql(model, schema_editor, using, **options)
        index = models.Index(fields=self.fields, name=self.name, condition=self.where)
        return index.create_sql(model, schema_editor, using, **options)

    def deconstruct(self) -> Any:
        path, positional, named = super().deconstruct()
        return path, positional, {**named, "where": self.where, "on": self.on}
