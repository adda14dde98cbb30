"""A user's data as a CSV file in the media folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from apps.shop.models import OrderItem

COLUMNS = ("order", "placed_at", "status", "paid", "sku", "product", "quantity", "unit_price", "amount")


def export_orders(user: AbstractUser) -> str:
    """Write all orders of a user to a CSV file; returns its name in the media folder.

    A second run replaces the file of the first.
    """
    name = f"exports/user-{user.pk}.csv"
    content = ContentFile(to_csv(rows_of(user)).encode())
    # The storage never overwrites by itself: it would choose another name.
    default_storage.delete(name)
    return default_storage.save(name, content)


def rows_of(user: AbstractUser) -> Iterator[tuple[Any, ...]]:
    items = OrderItem.objects.filter(order__user=user).select_related("order", "product")
    for item in items.order_by("order_id", "pk").iterator(chunk_size=500):
        order, product = item.order, item.product
        yield (
            *(order.pk, order.placed_at.isoformat(), order.status, order.paid, product.sku, product.name),
            *(item.quantity, item.unit_price, item.amount),
        )


def to_csv(rows: Iterator[tuple[Any, ...]]) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([[defused(value) for value in row] for row in rows])
    return out.getvalue()


def defused(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, with a quote before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value
