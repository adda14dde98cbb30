"""A snippet shows the part of a text that the question is about."""

from __future__ import annotations

from apps.knowbase.services.snippets import snippet


def test_short_text_is_shown_whole_on_one_line() -> None:
    assert snippet("anything", "One\n\ntwo  three") == "One two three"


def test_long_text_is_cut_around_the_words_of_the_question() -> None:
    text = "filler words here " * 40 + "a lease has an end " + "more filler text " * 40

    found = snippet("When does a lease end?", text, max_chars=100)

    assert "lease has an end" in found
    assert found.startswith("… ") and found.endswith(" …")
    assert len(found) <= 104


def test_text_without_any_word_of_the_question_is_shown_from_its_start() -> None:
    assert snippet("Tea?", "word " * 100, max_chars=50).startswith("word word")


def test_text_without_spaces_is_cut_too() -> None:
    assert len(snippet("Tea?", "x" * 900, max_chars=50)) <= 54
