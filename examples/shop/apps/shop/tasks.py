"""The background work of the shop. A task reads ids, calls one function of the shop and says what it did."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import dramatiq
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.models import Session
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, F, Sum
from django.utils import timezone

from apps.shop.exports import export_orders
from apps.shop.models import Notification, Order, Product
from apps.shop.orders import charge, take_from_stock
from apps.shop.suppliers import fetch_prices, set_prices
from django_cfg import DjangoEmailService
from django_cfg.apps.accounts.models import OTPSecret

SHOP_URL = "https://shop.example"
OTP_LIFETIME = timedelta(hours=1)


@dramatiq.actor(queue_name="email")
def send_welcome_email(user_id: int) -> str:
    """Greet a new user."""
    user = _user(user_id)
    _send("welcome", user, "Welcome to the shop", login_url=f"{SHOP_URL}/login")
    return f"welcomed user {user_id}"


@dramatiq.actor(queue_name="email")
def send_password_reset_email(user_id: int, reset_token: str) -> str:
    """Send a link with which a user sets a new password."""
    _send("password_reset", _user(user_id), "Your new password", reset_url=f"{SHOP_URL}/reset/{reset_token}")
    return f"sent a reset link to user {user_id}"


@dramatiq.actor(queue_name="email", max_retries=3, min_backoff=15_000, max_backoff=3_600_000, time_limit=60_000)
def send_order_confirmation(order_id: int) -> str:
    """Tell a user what was ordered and what it costs."""
    order = Order.objects.select_related("user").prefetch_related("items__product").get(pk=order_id)
    _send(
        "order_confirmation",
        order.user,
        f"Your order {order.pk}",
        order=order,
        order_items=order.items.all(),
        total_amount=order.total,
    )
    return f"confirmed order {order_id}"


@dramatiq.actor(queue_name="email")
def send_reminder_email(user_id: int) -> str:
    """Remind a user of a cart; sent with a delay."""
    _send("reminder", _user(user_id), "Still interested?", cart_url=f"{SHOP_URL}/cart")
    return f"reminded user {user_id}"


@dramatiq.actor(queue_name="email")
def send_export_ready_email(user_id: int, file_url: str) -> str:
    """Tell a user where the export lies."""
    _send("export_ready", _user(user_id), "Your data is ready", file_url=f"{SHOP_URL}{file_url}")
    return f"told user {user_id} about {file_url}"


@dramatiq.actor(queue_name="processing")
def process_order(order_id: int) -> str:
    """Take an order's items from the stock and have it confirmed.

    The confirmation is sent inside the transaction: it goes out exactly when the stock was really taken.
    """
    with transaction.atomic():
        is_new = take_from_stock(order_id)
        if is_new:
            send_order_confirmation.send(order_id)
    return f"processed order {order_id}" if is_new else f"order {order_id} was processed before"


@dramatiq.actor(queue_name="processing", max_retries=1, min_backoff=400, max_backoff=400)
def charge_order(order_id: int) -> str:
    """Charge the card of an order; a card that stays invalid ends this task as a dead letter."""
    return f"charged order {order_id}" if charge(order_id) else f"order {order_id} was paid before"


@dramatiq.actor(queue_name="processing", max_retries=5, min_backoff=500, max_backoff=2_000)
def import_supplier_prices(supplier: str) -> str:
    """Take over a supplier's prices; the supplier's gate makes this fail twice before it works."""
    changed = set_prices(supplier, fetch_prices(supplier))
    return f"{changed} prices of {supplier} changed"


@dramatiq.actor(queue_name="exports", time_limit=3_600_000)
def export_user_data(user_id: int) -> str:
    """Write a user's orders to a CSV file and mail the address of it."""
    name = export_orders(_user(user_id))
    send_export_ready_email.send(user_id, default_storage.url(name))
    return name


@dramatiq.actor(queue_name="notifications")
def send_notification(user_id: int, key: str, text: str) -> str:
    """Put one line into a user's inbox, once per key."""
    _, is_new = Notification.objects.get_or_create(user_id=user_id, key=key, defaults={"text": text})
    return f"notified user {user_id}" if is_new else f"user {user_id} knew {key!r} already"


@dramatiq.actor
def collect_stock() -> dict[str, Any]:
    """Count what lies on the shelf: the first step of the stock report."""
    found = Product.objects.aggregate(
        products=Count("pk"),
        pieces=Sum("stock", default=0),
        worth=Sum(F("stock") * F("price"), default=Decimal(0)),
    )
    # Money travels as text: JSON knows no Decimal, and a float would not be the same amount.
    return {**found, "worth": str(Decimal(found["worth"]).quantize(Decimal("0.01")))}


@dramatiq.actor
def describe_stock(stock: dict[str, Any]) -> str:
    """Put the count into words: the second step of the stock report."""
    return f"{stock['products']} products, {stock['pieces']} pieces, worth {stock['worth']}"


@dramatiq.actor
def cleanup_old_data() -> str:
    """Delete one-time passwords that are older than an hour."""
    deleted, _ = OTPSecret.objects.filter(created_at__lt=timezone.now() - OTP_LIFETIME).delete()
    return f"deleted {deleted} old one-time passwords"


@dramatiq.actor
def cleanup_expired_sessions() -> str:
    """Delete sessions that have ended."""
    deleted, _ = Session.objects.filter(expire_date__lt=timezone.now()).delete()
    return f"deleted {deleted} expired sessions"


@dramatiq.actor(queue_name="email")
def send_daily_report() -> str:
    """Tell everybody on the staff what was ordered yesterday; scheduled for weekdays in `api/config.py`."""
    yesterday = timezone.localdate() - timedelta(days=1)
    orders = Order.objects.filter(placed_at__date=yesterday).count()
    staff = get_user_model().objects.filter(is_staff=True)
    for user in staff:
        _send("daily_report", user, f"Orders of {yesterday}", orders=orders, day=yesterday)
    return f"told {len(staff)} people about {orders} orders"


def _user(user_id: int) -> AbstractUser:
    return get_user_model().objects.get(pk=user_id)


def _send(template: str, user: AbstractUser, subject: str, **context: Any) -> None:
    DjangoEmailService().send_template(
        template_name=f"emails/{template}.html",
        context={"user_name": user.get_full_name() or user.email, **context},
        recipient_list=[user.email],
        subject=subject,
    )
