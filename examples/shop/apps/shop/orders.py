"""Stock and payment of one order. Every step can be repeated without doing its work twice."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.shop.models import Order, Product


class OutOfStock(Exception):
    """There is less on the shelf than was ordered."""


class PaymentRefused(Exception):
    """The payment reference is not a valid one."""


def take_from_stock(order_id: int) -> bool:
    """Take all items of an order off the shelf and mark it as processed; False if that was done before.

    Call it inside a transaction: all items are taken, or none.

    Raises:
        OutOfStock: an item is not there in that quantity.
    """
    # The lock makes a second run of the same order wait here and then see the new status.
    order = Order.objects.select_for_update().get(pk=order_id)
    if order.status == Order.Status.PROCESSED:
        return False
    # One order of rows for everybody, so that two orders of the same products cannot block each other.
    for item in order.items.order_by("product_id"):
        enough = Product.objects.filter(pk=item.product_id, stock__gte=item.quantity)
        if not enough.update(stock=F("stock") - item.quantity):
            raise OutOfStock(f"order {order_id}: fewer than {item.quantity} of product {item.product_id} left")
    Order.objects.filter(pk=order_id).update(status=Order.Status.PROCESSED, processed_at=timezone.now())
    return True


def charge(order_id: int) -> bool:
    """Mark an order as paid; False if it was before.

    Raises:
        PaymentRefused: the check digit of the payment reference is wrong.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=order_id)
        if order.paid:
            return False
        if not has_valid_check_digit(order.payment_reference):
            raise PaymentRefused(f"order {order_id}: the card ending in {order.payment_reference[-4:]} is not valid")
        Order.objects.filter(pk=order_id).update(paid=True)
    return True


def has_valid_check_digit(reference: str) -> bool:
    """Whether the last digit is right by Luhn's formula, as on bank cards."""
    if not (reference.isascii() and reference.isdigit()):
        return False
    digits = [int(digit) for digit in reversed(reference)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
