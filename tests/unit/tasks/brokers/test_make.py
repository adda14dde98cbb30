from __future__ import annotations

import pytest

from django_cfg.errors import BrokerURLError, ConfigurationError
from django_cfg.tasks.brokers import make
from django_cfg.tasks.conf import TaskSettings


def test_a_result_store_apart_from_the_messages_is_refused_and_not_ignored() -> None:
    settings = TaskSettings(broker_url="stub://", result_backend="redis://ann:opensesame@cache/1")

    with pytest.raises(ConfigurationError) as caught:
        make.make(settings)

    assert str(caught.value) == (
        "result_backend 'redis://ann:***@cache/1': this version keeps results in the broker's own store or in "
        "database://ALIAS; leave it out, or name a database"
    )


@pytest.mark.parametrize("same", [None, "stub://"])
def test_a_result_store_that_is_the_broker_is_taken(same: str | None) -> None:
    assert make.make(TaskSettings(broker_url="stub://", result_backend=same)).settings.result_backend == same


def test_a_broker_class_that_is_none_of_ours_is_refused_by_name() -> None:
    settings = TaskSettings(broker_class="dramatiq.brokers.stub.StubBroker")

    with pytest.raises(ConfigurationError) as caught:
        make.make(settings)

    assert str(caught.value) == (
        "DRAMATIQ_BROKER['BROKER'] 'dramatiq.brokers.stub.StubBroker' is not an EngineBroker; "
        "leave BROKER out, and OPTIONS['url'] chooses the broker"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://shop:sekret@host:bad/3", "redis://shop:***@host:***/3"),
        ("redis://shop:sek/ret@host:6379/3", "redis://shop:***@host:6379/3"),
        ("redis://host:65536/3", "redis://host:65536/3"),
        ("rediss://[::1/0", "rediss://[::1/0"),
        ("redis+sentinel://shop:sekret@one:26379,two:bad/main/0", "redis+sentinel://shop:***@one:***/main/0"),
        ("amqp://shop:sekret@host:bad/", "amqp://shop:***@host:***/"),
    ],
)
def test_a_host_or_port_that_is_none_is_refused_at_once_without_the_password(url: str, shown: str) -> None:
    with pytest.raises(BrokerURLError) as caught:
        make.make(TaskSettings(broker_url=url))
    assert f"broker_url {shown!r}: its host or port cannot be read" in str(caught.value)
    assert "sek" not in str(caught.value) and caught.value.__cause__ is None
