"""Settings are read by name; what nobody reads is refused."""

from __future__ import annotations

import pytest
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
