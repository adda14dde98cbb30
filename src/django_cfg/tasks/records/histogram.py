"""Durations as counts in logarithmic buckets: mergeable by addition, percentiles right within a tenth. Pure."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable

import msgspec

#: Buckets per doubling: a bucket is 19 % wide, so its middle is within 9 % of every value in it.
PER_DOUBLING = 4
#: Everything up to this, in milliseconds, is one bucket.
FLOOR_MS = 0.125
_FIRST = round(PER_DOUBLING * math.log2(FLOOR_MS))

#: The highest duration of each bucket, up to a thousand years; whatever is longer shares one.
_ENDS = [*(2.0 ** (bucket / PER_DOUBLING) for bucket in range(_FIRST, 45 * PER_DOUBLING)), math.inf]

Histogram = Counter[int]
_stored = msgspec.json.Decoder(dict[str, int])


def bucket_of(milliseconds: float) -> int:
    """The bucket that a duration falls into."""
    return _FIRST + bisect_left(_ENDS, milliseconds)


def buckets_of(durations: Iterable[float]) -> Histogram:
    """Durations in milliseconds, counted: sorted and cut at the ends of buckets, thrice as quick as one by one."""
    ordered = sorted(durations)
    counts, place = Histogram(), 0
    while place < len(ordered):
        bucket = bucket_of(ordered[place])
        after = bisect_right(ordered, _ENDS[bucket - _FIRST], lo=place)
        counts[bucket] = after - place
        place = after
    return counts


def upper_ms(bucket: int) -> float:
    """The highest duration of a bucket, in milliseconds."""
    return float(2 ** (bucket / PER_DOUBLING))


def middle_ms(bucket: int) -> float:
    """What stands for every duration of a bucket, in milliseconds."""
    return upper_ms(bucket) / 2 ** (0.5 / PER_DOUBLING)


def percentile(histogram: Histogram, share: float) -> float:
    """The duration in milliseconds that `share` (0 to 1) of the counted ones do not exceed; 0 of none."""
    wanted = share * histogram.total()
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            return middle_ms(bucket)
    return 0.0


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    total: Histogram = Counter()
    for histogram in histograms:
        total.update(histogram)
    return total


def dumps(histogram: Histogram) -> str:
    return json.dumps({str(bucket): count for bucket, count in sorted(histogram.items())}, separators=(",", ":"))


def sum_of(texts: Iterable[str]) -> Histogram:
    """Stored ones as one. They are added up before their buckets become numbers: a report reads thousands."""
    total: dict[str, int] = {}
    for text in texts:
        for bucket, count in _stored.decode(text).items():
            total[bucket] = total.get(bucket, 0) + count
    return Counter({int(bucket): count for bucket, count in total.items()})


def loads(text: str) -> Histogram:
    return Counter({int(bucket): count for bucket, count in json.loads(text).items()})
