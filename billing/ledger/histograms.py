"""How long things took, as histograms that can be added up. No Django here.

Percentiles of parts say nothing about the whole; counts in fixed buckets do. A bucket is about 19 % wider than the one
before, so that a percentile read from one is at most that much off, and much less where many requests fall into it.

A histogram is one number: the count of bucket b stands in its decimal digits 12·b to 12·b + 11. Adding two such numbers
adds them bucket by bucket, which PostgreSQL's `numeric` does in C, in `sum()` as in `+` (docs/decisions.md).
"""

from collections.abc import Iterator
from itertools import pairwise

GROWTH = 2**0.25  # a bucket's upper bound by its lower one, but for rounding to whole milliseconds
DIGITS = 12  # of a bucket: a trillion requests
_PLACE = 10**DIGITS

# Milliseconds. Bucket 0 is below the first bound, bucket b from bound b - 1 up to bound b; the last is open, from
# 70 minutes on.
BOUNDS: tuple[int, ...] = tuple(dict.fromkeys(round(2 ** (step / 4)) for step in range(22 * 4 + 1)))
_EDGES = tuple(pairwise((0, *BOUNDS, BOUNDS[-1] + 1)))


def counts(packed: int) -> Iterator[tuple[int, int]]:
    """The buckets that hold something, as (bucket, requests), lowest first."""
    bucket = 0
    while packed:
        packed, count = divmod(packed, _PLACE)
        if count:
            yield bucket, count
        bucket += 1


def size(packed: int) -> int:
    """Of how many requests it tells."""
    return sum(count for _, count in counts(packed))


def percentile(packed: int, share: float) -> float | None:
    """Milliseconds within which `share` (0 to 1) of the requests were done, interpolated inside one bucket.

    Off by less than GROWTH - 1 of the exact value, which is the one at place ⌈share · n⌉. Above the last bound, that
    bound. None: nothing was measured.
    """
    left = share * size(packed)
    for bucket, count in counts(packed):
        if count >= left:
            low, above = _EDGES[bucket]
            return low + (above - 1 - low) * max(left, 1) / count
        left -= count
    return None


def packed(bucket: int, count: int = 1) -> int:
    number: int = count * _PLACE**bucket
    return number
