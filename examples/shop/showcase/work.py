"""Everything that the demo puts into the queues: real rows, real files, real tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path

from apps.knowbase.models import Document
from apps.shop import tasks
from apps.shop.models import Order, OrderItem, Product, Supplier
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.utils import timezone
from dramatiq import group, pipeline

from django_cfg.apps.accounts.models import OTPSecret

USERS, ORDERS, EXPORTS = 12, 20, 3
GOOD_CARD, BAD_CARD = "4242424242424242", "4242424242424241"
SUPPLIER = "Leaf & Kettle"
REMINDER_DELAY_MS = 2_000
SKIPPED = {"node_modules", "__pycache__", "site-packages"}
MAX_FILE_BYTES = 2_000_000
DOCUMENTS_PER_COMMIT = 100
SHELF = {
    "TEA-01": ("Green tea", "6.50"),
    "TEA-02": ("Smoked tea", "7.90"),
    "MUG-01": ("Mug", "11.50"),
    "POT-01": ("Teapot", "32.00"),
    "TIN-01": ("Tin", "9.80"),
    "SPN-01": ("Spoon", "3.95"),
    "HON-01": ("Honey", "7.20"),
    "BIS-01": ("Biscuits", "3.90"),
}
FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gül", "Hugo", "Ines", "Jan", "Kim", "Léa")


@dataclass(frozen=True)
class Work:
    """What was asked for; `report` is the pipeline whose result is read in the end."""

    documents: int
    report: pipeline


def enqueue(folders: tuple[Path, ...], repository: Path) -> Work:
    """Save what the shop and the knowledge base live on, and send all tasks."""
    # One transaction for the shop: its tasks leave with the commit, or not at all.
    with transaction.atomic():
        users = _users()
        _shop(users)
        _leftovers(users)
        report = _send(users)
    return Work(documents=_documents(folders, repository), report=report)


def markdown_files(folders: tuple[Path, ...], repository: Path) -> list[Path]:
    """README.md and docs/ of the repository, and every *.md below the folders; each file once."""
    found = [path for folder in (repository / "docs", *folders) for path in _below(folder)]
    return list(dict.fromkeys([*filter(Path.is_file, [repository / "README.md"]), *found]))


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.md")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in SKIPPED for part in parts)
        if not hidden and path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            yield path.resolve()


def _documents(folders: tuple[Path, ...], repository: Path) -> int:
    paths = markdown_files(folders, repository)
    for start in range(0, len(paths), DOCUMENTS_PER_COMMIT):
        with transaction.atomic():
            for path in paths[start : start + DOCUMENTS_PER_COMMIT]:
                _save_document(path)
    return len(paths)


def _save_document(path: Path) -> None:
    content = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    first = next((line for line in content.splitlines() if line.startswith("# ")), "")
    values = {"title": (first.lstrip("# ").strip() or path.stem)[:255], "content": content}
    Document.objects.update_or_create(source=str(path)[-1024:], defaults=values)


def _users() -> list[AbstractUser]:
    found = []
    for name in FIRST_NAMES[:USERS]:
        values = {"email": f"{name.lower()}@shop.example", "first_name": name, "last_name": "Sample"}
        found.append(get_user_model().objects.get_or_create(username=name.lower(), defaults=values)[0])
    return found


def _shop(users: list[AbstractUser]) -> None:
    for sku, (name, price) in SHELF.items():
        values = {"name": name, "price": Decimal(price), "stock": 500}
        Product.objects.update_or_create(sku=sku, defaults=values)
    # The supplier's gate counts from zero, so that its price feed fails twice in every run.
    Supplier.objects.update_or_create(name=SUPPLIER, defaults={"calls": 0})
    products = list(Product.objects.order_by("sku"))
    for number in range(ORDERS):
        card = BAD_CARD if number == ORDERS // 2 else GOOD_CARD
        order = Order.objects.create(user=users[number % len(users)], payment_reference=card)
        for step in range(1 + number % 3):
            product = products[(number + step) % len(products)]
            OrderItem.objects.create(order=order, product=product, quantity=1 + number % 4, unit_price=product.price)


def _leftovers(users: list[AbstractUser]) -> None:
    """Old one-time passwords and ended sessions, for the clean-ups to find."""
    old = timezone.now() - timedelta(hours=3)
    OTPSecret.objects.bulk_create(OTPSecret(user=user, secret=f"{user.pk:06}", created_at=old) for user in users)
    sessions = import_module(settings.SESSION_ENGINE)
    for user in users:
        session = sessions.SessionStore()
        session["user"] = user.pk
        session.set_expiry(old)
        session.save()


def _send(users: list[AbstractUser]) -> pipeline:
    for user in users:
        tasks.send_welcome_email.send(user.pk)
    for order in Order.objects.filter(status=Order.Status.NEW).order_by("pk"):
        tasks.process_order.send(order.pk)
        tasks.charge_order.send(order.pk)
    for user in users[:EXPORTS]:
        tasks.export_user_data.send(user.pk)
    tasks.import_supplier_prices.send(SUPPLIER)
    tasks.send_reminder_email.send_with_options(args=(users[0].pk,), delay=REMINDER_DELAY_MS)
    tasks.cleanup_old_data.send()
    tasks.cleanup_expired_sessions.send()
    news = ("sale-1", "Teapots are cheaper this week")
    group(tasks.send_notification.message(user.pk, *news) for user in users).run()
    return pipeline([tasks.collect_stock.message(), tasks.describe_stock.message()]).run()
