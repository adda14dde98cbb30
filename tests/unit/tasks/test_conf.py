"""Settings are read by name; what nobody reads is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.test import override_settings

from django_cfg.errors import ConfigurationError
from django_cfg.tasks import conf


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    with override_settings(DJANGO_CFG_TASKS={"procesess": 2}), pytest.raises(
        ConfigurationError, match=r"DJANGO_CFG_TASKS has an unknown key 'procesess'. Did you mean 'processes'"
    ):  # fmt: skip
        conf.read()
    with override_settings(DRAMATIQ_BROKER={"MIDLEWARE": []}), pytest.raises(
        ConfigurationError, match=r"DRAMATIQ_BROKER has an unknown key 'MIDLEWARE'. Did you mean 'MIDDLEWARE'"
    ):  # fmt: skip
        conf.read()
    with (
        override_settings(DJANGO_CFG_TASKS={"zzz": 2}),
        pytest.raises(ConfigurationError, match=r"Known: admin_enabled"),
    ):
        conf.read()


@pytest.mark.parametrize("days", ["7", -1, True, float("nan"), float("inf"), timedelta(days=7)])
def test_a_wrong_expiration_of_results_ends_the_start(days: Any) -> None:
    app = apps.get_app_config("django_cfg_tasks")
    text = "TASKS_RESULT_EXPIRATION_DAYS must be a number of days from 0 to 36,500, or None, got "
    with override_settings(TASKS_RESULT_EXPIRATION_DAYS=days), pytest.raises(ConfigurationError) as caught:
        app.ready()
    assert str(caught.value) == f"{text}{days!r}"
    for good in (None, 0, 0.5, 30):
        with override_settings(TASKS_RESULT_EXPIRATION_DAYS=good):
            app.ready()


def test_the_level_of_the_log_is_a_name_in_any_case_of_letters() -> None:
    for given, meant in ((None, None), ("info", "INFO"), ("WARNING", "WARNING"), (10, 10)):
        with override_settings(TASKS_LOG_LEVEL=given):
            assert conf.tasks_log_level() == meant
    with override_settings(TASKS_LOG_LEVEL="loud"), pytest.raises(
        ConfigurationError, match=r"TASKS_LOG_LEVEL must be one of CRITICAL, .*, got 'loud'"
    ):  # fmt: skip
        conf.tasks_log_level()


@override_settings(DJANGO_CFG_TASKS={}, DRAMATIQ_BROKER={})
def test_nothing_written_means_the_defaults() -> None:
    assert conf.read() == conf.TaskSettings()


@override_settings(
    DJANGO_CFG_TASKS={"queues": ["a"]}, DRAMATIQ_BROKER={"OPTIONS": {"url": "stub://", "x": 1}, "MIDDLEWARE": ["m"]}
)
def test_what_is_written_arrives() -> None:
    read = conf.read()
    assert (read.queues, read.broker_url, read.broker_options) == (("a",), "stub://", {"x": 1})
    assert (read.middleware, read.middleware_is_default) == (("m",), False)
