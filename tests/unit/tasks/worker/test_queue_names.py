"""Which queues a worker serves."""

from __future__ import annotations

import pytest

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.worker.queue_names import split, to_serve


@pytest.mark.parametrize("words", [["a,b"], ["a", "b"], ["a, b"], ["a,", ",b"], ["a,b", "a"]])
def test_all_spellings_name_the_same_queues(words: list[str]) -> None:
    assert split(words) == ["a", "b"]


@pytest.mark.parametrize("words", [[","], [""], [" ", ""]])
def test_words_without_a_name_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"names no queue"):
        split(words)


def test_not_asked_means_the_configured_else_default_and_all_declared() -> None:
    assert split([]) == []
    assert to_serve([], None, ["mail"]) == ["default", "mail"]
    assert to_serve([], None, []) == ["default"]
    assert to_serve([], ["exports"], ["mail"]) == ["exports"]


def test_asked_means_exactly_those_if_known_from_anywhere() -> None:
    assert to_serve(["mail"], ["exports"], ["mail"]) == ["mail"]
    assert to_serve(["exports"], ["exports"], ["mail"]) == ["exports"]
    assert to_serve(["default"], None, ["mail"]) == ["default"]


def test_an_unknown_queue_is_refused_with_the_known_and_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"no queue is named 'mial'; known: default, mail. Did you mean 'mail'"
    ):
        to_serve(["mial"], None, ["mail"])
    with pytest.raises(ConfigurationError, match=r"known: exports\.$"):
        to_serve(["default"], ["exports"], [])
