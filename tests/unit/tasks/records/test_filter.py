"""One grammar for every place that chooses tasks; what is not clear is refused with the way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cfg.errors import FilterError
from django_cfg.tasks.lifecycle import State
from django_cfg.tasks.records.filter import TaskFilter, of_arguments, parse

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_words_with_names_choose_and_commas_mean_any_of() -> None:
    assert parse(
        'state:failed,retrying task:a,b queue:mail error:"no route" since:2h before:2026-01-01', NOW
    ) == TaskFilter(
        states=(State.DEAD_LETTER, State.RETRYING),
        tasks=("a", "b"),
        queues=("mail",),
        error="no route",
        since=NOW - timedelta(hours=2),
        before=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert parse("") == TaskFilter()


def test_an_id_may_stand_alone() -> None:
    message_id = "0c5a3f6e-62e4-4c39-8f2b-0f3f0b4e9c11"
    assert parse(message_id).ids == (message_id,)


def test_a_blank_inside_an_argument_of_the_shell_belongs_to_its_value() -> None:
    assert of_arguments(["error:no route", "state:failed queue:mail"]) == TaskFilter(
        states=(State.DEAD_LETTER,), queues=("mail",), error="no route"
    )


def test_an_apostrophe_inside_an_argument_of_the_shell_belongs_to_its_value() -> None:
    assert of_arguments(["error:can't connect"]).error == "can't connect"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat:failed", "unknown name 'stat' in 'stat:failed'; did you mean 'state'?"),
        ("zzz:1", "known: state, task"),
        ("state:gone", "unknown state 'gone'; known: pending"),
        ("since:tomorrow", "expected an age like 90s, 15m, 2h, 7d or a moment"),
        ("failed", "expected NAME:VALUE, got 'failed'"),
        ('error:"open', "No closing quotation"),
        ("queue:a queue:b", "queue: said twice; commas mean any of: queue:a,b"),
        ("id:a id:b", "id: said twice; commas mean any of: id:a,b"),
        ("error:a error:b", "error: said twice; say it once"),
        ("before:0001-01-01T00:00+14:00", "expected an age like"),
    ],
)
def test_what_is_not_clear_is_refused(text: str, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert said in str(caught.value)


@given(st.text(max_size=80))
def test_no_text_gets_anything_out_but_a_filter_or_its_own_error(text: str) -> None:
    try:
        parse(text)
    except FilterError:
        pass  # the only one that may come
