"""Every page with data as a real site has it, wide and narrow: nothing is cut off, and the page itself never scrolls
sideways. SCREENSHOTS=folder keeps the pictures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_cfg.tasks import actions
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.models import Attempt, ErrorGroup, OperatorAction, Schedule
from tests.browser.test_admin_pages import Browser, browser, cookie, look, shoot, site
from tests.unit.tasks.admin.conftest import PAGES, announce, broker, bury, record, tally, url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
__all__ = ["broker", "browser", "cookie", "site"]  # fixtures
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/src/shop/orders/tasks.py", line 41, in charge_the_card_of_an_order
    gateway.charge(order.card, order.total, idempotency_key=f"{order.pk}-{attempt}", timeout=GATEWAY_TIMEOUT_S)
shop.payments.errors.GatewayRefused: the gateway answered 402: card_declined (insufficient_funds), request 5f2b7c1e
"""
ERROR = "the gateway answered 402: card_declined (insufficient_funds), request 5f2b7c1e"
OURS = {*PAGES, *(f"{page}-one" for page in PAGES)}
#: Targets below 24 px (WCAG 2.5.8); links within a text or a table are excepted there.
SMALL = """() => [...document.querySelectorAll('#content-main :is(button, input:not([type=hidden]), a.plain)')]
    .filter(one => { const box = one.getBoundingClientRect(); return box.height < 24 || box.width < 24; })
    .map(one => `${one.outerHTML} ${one.getBoundingClientRect().height}`)"""
TASK, QUEUE, WORKER = "shop.orders.charge_the_card", "payments", "worker-7d9f8b6c5-x2x4q:4711"


def fill(broker: EngineBroker) -> dict[str, str]:
    """A morning in a shop; returns the key of a row of each page that has details."""
    now = timezone.now()
    broker.declare_queue(QUEUE)
    letters = [bury(broker, TASK, QUEUE) for _ in range(3)]
    failed = {"error_type": "GatewayRefused", "error": ERROR, "fingerprint": "4be1c0ffee12", "worker": WORKER}
    for number, letter in enumerate(letters):
        record(
            letter, "dead_letter", task=TASK, queue=QUEUE, attempts=4, retries=3, tags=",paid,eu,", log="INFO shop: x",
            arguments='{"order":48213,"card":"***","note":"as a gift"}', wait_ms=812.4, run_ms=1543.9,
            enqueued_at=now, started_at=now, finished_at=now, updated_at=now - timedelta(minutes=number), **failed,
        )  # fmt: skip
        Attempt.objects.create(
            message_id=letter, generation=1, fence=4, ended_as="dead", traceback=TRACEBACK, wait_ms=3, run_ms=1543.9,
            ended_at=now, **failed,
        )  # fmt: skip
    record("9f0c6c52-1", "running", progress_done=1200, progress_total=5000, progress_note="exporting orders of May")
    for number in range(12):
        record(f"9f0c6c52-2-{number}", "completed", arguments='{"order":48213}', wait_ms=3.2, run_ms=41)
    ErrorGroup.objects.create(
        fingerprint="4be1c0ffee12", task=TASK, queue=QUEUE, error_type="GatewayRefused", error=ERROR, seen=128,
        place="shop.orders.tasks:charge_the_card_of_an_order", first_seen=now, last_seen=now,
        newest_message_id=letters[0],
    )  # fmt: skip
    actions.pause(QUEUE)
    announce("worker-7d9f8b6c5-x2x4q", TASK, "shop.orders.export")
    announce("worker-7d9f8b6c5-gone", silent_s=60)
    tally(TASK, QUEUE, dead=3)
    tally("shop.orders.export", QUEUE)
    Schedule.objects.create(
        name="nightly-report", source="admin", definition={"actor_name": TASK, "cron": "0 2 * * *"}, settled_at=0
    )
    return {
        "taskrecord": letters[0],
        "deadletter": letters[0],
        "errorgroup": "4be1c0ffee12",
        "attempt": str(Attempt.objects.order_by("-id")[0].pk),
        "operatoraction": str(OperatorAction.objects.order_by("-id")[0].pk),
    }


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_nothing_is_cut_off(
    browser: Browser, site: str, cookie: str, broker: EngineBroker, width: int, dark: bool
) -> None:
    keys = fill(broker)
    places = {name: url(name) for name in (*PAGES, "schedule")} | {f"{n}-one": url(n, key) for n, key in keys.items()}
    wide, small = list[str](), list[str]()

    def walk(page: Any, trap: Any) -> None:
        for name, place in places.items():
            look(page, site + place)
            shoot(page, f"{name}-{width}-{'dark' if dark else 'light'}")
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wide.append(name)
            if name in OURS:
                small.extend(f"{name}: {what}" for what in page.evaluate(SMALL))
        look(page, site + url("deadletter"))
        page.get_by_role("button", name="Discard all").click()
        shoot(page, f"confirm-{width}-{'dark' if dark else 'light'}")

    trap = browser.run(walk, cookie, site, width, dark)
    assert (trap.dialogs, trap.errors, wide, small) == ([], [], [], [])
