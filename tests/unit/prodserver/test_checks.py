"""What is looked at before a process may serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_prodserver.checks import problems
from django_prodserver.conf import Process
from django_prodserver.plan import Plan, plan
from tests.installed import needs

KEY = "k" * 50

pytestmark = pytest.mark.django_db(databases="__all__")


def server(bind: str = "0.0.0.0:8000", workers: int = 1) -> Plan:
    needs("gunicorn")
    args: dict[str, Any] = {"bind": bind, "workers": workers}
    return plan(Process("web", "django_prodserver.backends.gunicorn.GunicornServer", args))


def worker() -> Plan:
    return plan(Process("worker", "django_prodserver.backends.dramatiq.DramatiqWorker"))


def ids(planned: Plan) -> set[str]:
    return {str(message.id) for message in problems(planned)}


@pytest.fixture(autouse=True)
def production(settings: Any, tmp_path: Path) -> Any:
    settings.DEBUG, settings.ALLOWED_HOSTS, settings.SECRET_KEY = False, ["shop.example"], KEY
    settings.STATIC_ROOT = str(tmp_path)
    return settings


def test_right_project_has_no_problem() -> None:
    assert ids(server()) == set() and ids(worker()) == set()


def test_debug_that_everyone_can_reach_is_an_error_and_on_this_machine_a_warning(production: Any) -> None:
    production.DEBUG = True
    assert ids(server("0.0.0.0:8000")) == {"prodserver.E001"}
    assert ids(server("127.0.0.1:8000")) == ids(server("[::1]:8000")) == {"prodserver.W001"}
    assert ids(worker()) == set()


def test_hosts_are_a_matter_of_servers_alone(production: Any) -> None:
    production.ALLOWED_HOSTS = []
    assert ids(server()) == {"prodserver.E002"} and ids(worker()) == set()
    production.ALLOWED_HOSTS = ["*"]
    assert ids(server()) == {"prodserver.W002"}


@pytest.mark.parametrize(("key", "expected"), [("django-insecure-" + KEY, "E003"), ("short", "W003")])
def test_weak_key(production: Any, key: str, expected: str) -> None:
    production.SECRET_KEY = key
    assert ids(worker()) == {f"prodserver.{expected}"}


def test_static_files_must_have_been_collected(production: Any, tmp_path: Path) -> None:
    production.INSTALLED_APPS = [*production.INSTALLED_APPS, "django.contrib.staticfiles"]
    assert ids(server()) == set()
    production.STATIC_ROOT = str(tmp_path / "away")
    assert ids(server()) == {"prodserver.W005"}
    production.STATIC_ROOT = None
    assert ids(server()) == {"prodserver.W004"}


def test_many_processes_on_sqlite_with_deferred_transactions_are_warned_of() -> None:
    from django.db import connections

    options = connections["default"].settings_dict["OPTIONS"]
    mode = options.pop("transaction_mode")
    try:
        assert ids(server(workers=4)) == {"prodserver.W006"}
        assert ids(server(workers=1)) == set()
    finally:
        options["transaction_mode"] = mode
    assert ids(server(workers=4)) == set()


def test_missing_migrations_are_counted() -> None:
    from django.db.migrations.recorder import MigrationRecorder

    MigrationRecorder.Migration.objects.filter(app="auth", name__startswith="0012").delete()
    assert [message.msg for message in problems(worker())] == ["1 migration not applied to 'default'."]


def test_an_app_that_is_a_single_module_has_no_migrations(production: Any) -> None:
    production.INSTALLED_APPS = [*production.INSTALLED_APPS, "colorsys"]
    assert ids(worker()) == set()
