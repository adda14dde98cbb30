"""The price feed of a supplier whose gate turns the first two calls away, as such gates do."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.shop.models import Product, Supplier

FEED = Path(__file__).parent / "feeds" / "prices.csv"
REFUSED_CALLS = 2


class SupplierUnavailable(Exception):
    """The supplier does not answer now; try again later."""


def fetch_prices(supplier: str) -> dict[str, Decimal]:
    """The supplier's prices by SKU.

    The calls are counted in the database, committed at once, so that the count holds across worker processes.

    Raises:
        SupplierUnavailable: one of the first two calls.
    """
    Supplier.objects.get_or_create(name=supplier)
    Supplier.objects.filter(name=supplier).update(calls=F("calls") + 1)
    calls = Supplier.objects.get(name=supplier).calls
    if calls <= REFUSED_CALLS:
        raise SupplierUnavailable(f"{supplier} answered 503 to call {calls}")
    with FEED.open(newline="") as feed:
        return {row["sku"]: Decimal(row["price"]) for row in csv.DictReader(feed)}


def set_prices(supplier: str, prices: dict[str, Decimal]) -> int:
    """Set the prices of the products that we have; returns how many changed."""
    with transaction.atomic():
        changed = sum(
            Product.objects.filter(sku=sku).exclude(price=price).update(price=price)
            for sku, price in sorted(prices.items())
        )
        Supplier.objects.filter(name=supplier).update(updated_at=timezone.now())
    return changed
