from __future__ import annotations

import pytest

from django_cfg.errors import ConfigurationError
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
