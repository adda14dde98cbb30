"""The pages in a real browser, under a strict content security policy: no dialog, no console error, no overflow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client

from django_cfg import tasks
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.models import OperatorAction
from tests.conftest import chromium
from tests.unit.tasks.admin.conftest import PAGES, broker, bury, one_of_everything, record, url

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
__all__ = ["broker"]  # a fixture
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
CORPUS = [
    "<script>alert(1)</script>",
    "</pre><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)//",
    "' autofocus onfocus=alert(1) x='",
    "{{ 7|add:7 }}{% load x %}",
    "\u2028alert(1)\u2029 \u202egnp.exe",
    "</title></textarea><script>alert(1)</script>",
]
SHOTS = os.environ.get("SCREENSHOTS", "")


@dataclass
class Trap:
    """What must not happen."""

    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Browser:
    """Drives Chromium in a thread of its own: Playwright leaves an event loop in it, which Django would refuse."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._driver, self._browser = self._thread.submit(self._launch).result(60)

    def _launch(self) -> tuple[Any, Any]:
        from playwright.sync_api import sync_playwright

        driver = sync_playwright().start()
        return driver, driver.chromium.launch(executable_path=chromium(), args=FLAGS)

    def run(
        self, work: Callable[[Any, Trap], Any], cookie: str, home: str, width: int = 1280, dark: bool = False
    ) -> Any:
        return self._thread.submit(self._run, work, cookie, home, width, dark).result(120)

    def _run(self, work: Callable[[Any, Trap], Any], cookie: str, home: str, width: int, dark: bool) -> Trap:
        context = self._browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": home}])
        page, trap = context.new_page(), Trap()
        page.on("dialog", lambda dialog: (trap.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda said: trap.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: trap.errors.append(str(error)))
        try:
            work(page, trap)
        finally:
            context.close()
        return trap

    def close(self) -> None:
        self._thread.submit(lambda: (self._browser.close(), self._driver.stop())).result(30)
        self._thread.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def site(live_server: Any, settings: Any, tmp_path: Path) -> str:
    for app in (admin, tasks):
        shutil.copytree(Path(str(app.__file__)).parent / "static", tmp_path / "static", dirs_exist_ok=True)
    settings.STATIC_ROOT = tmp_path / "static"
    return str(live_server.url)


@pytest.fixture
def cookie(client: Client) -> str:
    client.force_login(get_user_model().objects.create_superuser("op", "op@example.com", "x"))
    return client.cookies["sessionid"].value


def look(page: Any, address: str) -> None:
    """Open it, and give what a payload may have started two frames to show."""
    page.goto(address)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.locator("#content-main").count() == 1, page.content()[:500]


def test_no_text_of_a_task_comes_alive(browser: Browser, site: str, cookie: str, broker: EngineBroker) -> None:
    keys = [one_of_everything(broker, evil, f"f{number}") for number, evil in enumerate(CORPUS)]

    def walk(page: Any, trap: Trap) -> None:
        for name in PAGES:
            look(page, site + url(name))
        for name, key in [(name, key) for found in keys for name, key in found.items()]:
            look(page, site + url(name, key))
        for evil in CORPUS:
            page.goto(site + url("taskrecord"))
            page.get_by_label("Search").fill(evil)
            page.get_by_role("button", name="Search").click()
        page.wait_for_load_state("networkidle")

    trap = browser.run(walk, cookie, site)
    assert (trap.dialogs, trap.errors) == ([], [])


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_an_operator_retries_what_failed_with_the_mouse(
    browser: Browser, site: str, cookie: str, broker: EngineBroker, width: int, dark: bool
) -> None:
    letter = bury(broker, "charge")
    record(letter, "dead_letter", task="charge", error_type="ValueError", error="no such card", arguments='{"order":1}')
    for number in range(60):
        record(f"m{number}", "completed", arguments='{"order":2}', wait_ms=3.2, run_ms=41)

    def click(page: Any, trap: Trap) -> None:
        look(page, site + url("taskrecord"))
        shoot(page, f"records-{width}-{'dark' if dark else 'light'}")
        page.get_by_role("link", name="Older").click()
        page.get_by_role("link", name="Newest").click()
        page.get_by_role("link", name="Failed").click()
        shoot(page, f"failed-{width}-{'dark' if dark else 'light'}")
        page.get_by_role("link", name="charge").click()
        shoot(page, f"detail-{width}-{'dark' if dark else 'light'}")
        page.get_by_role("button", name="Discard").click()
        page.get_by_role("link", name="No, take me back").click()
        page.goto(site + url("deadletter"))
        page.get_by_role("button", name="Retry all").click()
        page.get_by_role("button", name="Yes, retry").click()
        page.get_by_text("Retried 1 dead letter.").wait_for(timeout=5_000)

    trap = browser.run(click, cookie, site, width, dark)
    assert (trap.dialogs, trap.errors) == ([], [])
    assert broker.holds(letter)
    assert list(OperatorAction.objects.values_list("actor", "action", "affected")) == [("op", "retry", 1)]


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
