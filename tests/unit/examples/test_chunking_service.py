"""The chunker of the sample project: nothing is lost, nothing is too long, headings stay with their text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from apps.knowbase.services.chunking_service import ChunkingService, tail
from hypothesis import given
from hypothesis import strategies as st

GUIDE = """---
title: ignored
---
# Guide

Hello there.

## Install

Run this:

```sh
# not a heading
pip install shop

echo done
```

### On a server

Use a virtual environment.

## Use

Enjoy.
"""


def test_each_section_is_a_chunk_with_its_path_of_headings() -> None:
    found = [(chunk.heading, chunk.text.split("\n")[0]) for chunk in ChunkingService().split(GUIDE)]

    assert found == [
        ("Guide", "Hello there."),
        ("Guide › Install", "Run this:"),
        ("Guide › Install › On a server", "Use a virtual environment."),
        ("Guide › Use", "Enjoy."),
    ]


def test_fenced_code_is_neither_parted_nor_read_as_headings() -> None:
    install = ChunkingService().split(GUIDE)[1]

    assert "# not a heading\npip install shop\n\necho done\n```" in install.text


def test_longer_fence_is_not_closed_by_a_shorter_one() -> None:
    [chunk] = ChunkingService().split("````md\n```\n\n# inside\n```\n````")

    assert chunk.heading == "" and "# inside" in chunk.text


def test_long_section_is_cut_between_paragraphs_and_overlaps() -> None:
    paragraphs = [f"Paragraph {number} says something. It ends with word{number}." for number in range(12)]
    chunks = ChunkingService(max_chars=200, overlap_chars=40).split("\n\n".join(paragraphs))

    assert all(len(chunk.text) <= 200 for chunk in chunks)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    for before, after in pairwise(chunks):
        repeated = after.text.split("\n\n")[0]
        assert repeated and before.text.endswith(repeated)
    assert all(any(paragraph in chunk.text for chunk in chunks) for paragraph in paragraphs)


def test_one_endless_word_is_cut_hard() -> None:
    chunks = ChunkingService(max_chars=100, overlap_chars=0).split("x" * 250)

    assert "".join(chunk.text for chunk in chunks) == "x" * 250


@pytest.mark.parametrize("empty", ["", "\n\n", "# Only a heading\n", "---\na: b\n---\n"])
def test_document_without_text_has_no_chunks(empty: str) -> None:
    assert ChunkingService().split(empty) == []


def test_overlap_starts_with_a_whole_sentence_or_word() -> None:
    assert tail("One sentence. And another one.", 20) == "And another one."
    assert tail("many words without any stop", 12) == "any stop"


def test_overlap_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="below half of 100, got 50"):
        ChunkingService(max_chars=100, overlap_chars=50)


@given(st.text(alphabet=st.sampled_from("ab .\n#`~-"), max_size=600))
def test_no_chunk_is_too_long_and_no_letter_is_lost(markdown: str) -> None:
    chunks = ChunkingService(max_chars=60, overlap_chars=10).split("start\n\n" + markdown)

    assert all(0 < len(chunk.text) <= 60 for chunk in chunks)
    said = "".join(chunk.heading + chunk.text for chunk in chunks)
    for letter in "ab":
        in_text = sum(line.count(letter) for line in markdown.split("\n") if not line.startswith("#"))
        assert said.count(letter) >= in_text
