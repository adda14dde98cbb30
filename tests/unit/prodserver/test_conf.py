"""PRODUCTION_PROCESSES is read once, typed, and refused with every problem at once."""

from __future__ import annotations

from typing import Any

import pytest

from django_cfg import DjangoConfig, ProcessConfig
from django_prodserver.conf import read
from django_prodserver.errors import ProdserverError

GUNICORN = "django_prodserver.backends.gunicorn.GunicornServer"


def test_entries_keep_their_order_and_get_defaults(settings: Any) -> None:
    settings.PRODUCTION_PROCESSES = {
        "web": {"BACKEND": GUNICORN, "ARGS": {"bind": ":8000"}, "APP": "shop.wsgi"},
        "other": {"BACKEND": GUNICORN, "RESTART": "never", "STOP_TIMEOUT": 5, "ARGS": "--workers 2"},
    }

    web, other = read().values()

    assert (web.name, web.args, web.app, web.restart, web.stop_timeout) == (
        "web", {"bind": ":8000"}, "shop.wsgi", "always", None,
    )  # fmt: skip
    assert (other.args, other.restart, other.stop_timeout) == (["--workers", "2"], "never", 5)


def test_typed_entries_arrive_as_they_were_written(settings: Any) -> None:
    entry = ProcessConfig(BACKEND=GUNICORN, ARGS={"workers": 2}, RESTART="on-failure", STOP_TIMEOUT=12)
    written = DjangoConfig(processes={"web": entry}).get_all_settings()
    settings.PRODUCTION_PROCESSES = written["PRODUCTION_PROCESSES"]

    assert "django_prodserver" in written["INSTALLED_APPS"]
    assert (read()["web"].args, read()["web"].restart, read()["web"].stop_timeout) == (
        {"workers": 2}, "on-failure", 12,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no processes are configured; write for example"),
        ({}, "no processes are configured"),
        (["web"], "PRODUCTION_PROCESSES must be a dictionary of name and entry, got list"),
        ({"web": GUNICORN}, "PRODUCTION_PROCESSES['web'] must be a dictionary with BACKEND and ARGS, got str"),
        ({"web": {"backend": GUNICORN}}, "unknown key 'backend'; did you mean 'BACKEND'?"),
        ({"web": {"BACKEND": GUNICORN, "COLOUR": 1}}, "unknown key 'COLOUR'; known: BACKEND, ARGS, APP"),
        ({"web": {"ARGS": {}}}, "BACKEND must be the dotted path of a class, got None"),
        ({"web": {"BACKEND": GUNICORN, "ARGS": 3}}, "ARGS must be a dictionary of option and value"),
        ({"web": {"BACKEND": GUNICORN, "ARGS": [3]}}, "ARGS as a list holds texts, got 3"),
        ({"web": {"BACKEND": GUNICORN, "ARGS": {"a": {}}}}, "'a' is no option with a usable value: {}"),
        ({"web": {"BACKEND": GUNICORN, "APP": 1}}, "APP must be text, got 1"),
        ({"web": {"BACKEND": GUNICORN, "RESTART": "no"}}, "RESTART must be one of always, on-failure, never"),
        ({"web": {"BACKEND": GUNICORN, "STOP_TIMEOUT": 0}}, "STOP_TIMEOUT must be a number of seconds above 0"),
        ({"-x": {"BACKEND": GUNICORN}}, "a name must be text that does not start with a dash"),
    ],
)
def test_wrong_setting_is_refused(settings: Any, value: Any, said: str) -> None:
    settings.PRODUCTION_PROCESSES = value
    with pytest.raises(ProdserverError) as refusal:
        read()
    assert said in str(refusal.value)


def test_every_problem_is_reported_at_once(settings: Any) -> None:
    settings.PRODUCTION_PROCESSES = {"web": {"BAKEND": GUNICORN, "RESTART": 1}, "worker": {"BACKEND": "x"}}
    with pytest.raises(ProdserverError) as refusal:
        read()
    lines = str(refusal.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["PRODUCTION_PROCESSES['web']"] * 3 + [
        "PRODUCTION_PROCESSES['worker']"
    ]
