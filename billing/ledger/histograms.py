"""How long things took, as histograms that can be added up. No Django here.

Percentiles of parts say nothing about the whole; counts in fixed buckets do. A bucket is about 19 % wider than the one
before, so that a percentile read from one is at most that much off, and much less where many requests fall into it.

A histogram is one number: the count of bucket b stands in its decimal digits 12·b to 12·b + 11. Adding two such numbers
adds them bucket by bucket, which PostgreSQL's `numeric` does in C, in `sum()` as in `+` (docs/decisions.md).
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

GROWTH = 2**0.25  # a bucket's upper bound by its lower one, but for rounding to whole milliseconds
DIGITS = 12  # of a bucket: a trillion requests
_PLACE = 10**DIGITS

# Milliseconds. Bucket 0 is below the first bound, bucket b from bound b - 1 up to bound b; the last is open, from
# 70 minutes on.
BOUNDS: tuple[int, ...] = tuple(dict.fromkeys(round(2 ** (step / 4)) for step in range(22 * 4 + 1)))
_EDGES = tuple(pairwise((0, *BOUNDS, BOUNDS[-1] + 1)))


def counts(packed: int | str) -> list[int]:
    """The requests in each bucket, from the lowest up to the last one that holds any.

    Text is the number as PostgreSQL writes it, which is quicker to read than to make a number of.
    """
    digits = str(packed)
    return [int(digits[max(end - DIGITS, 0) : end]) for end in range(len(digits), 0, -DIGITS)]


def size(packed: int | str) -> int:
    """Of how many requests it tells."""
    return sum(counts(packed))


def percentiles(packed: int | str, shares: Sequence[float]) -> list[float | None]:
    """Milliseconds within which each share (above 0, up to 1) of the requests was done, interpolated inside one bucket.

    Off by less than GROWTH - 1 of the exact value, which is the one at place ⌈share · n⌉. Above the last bound, that
    bound. None: nothing was measured.
    """
    buckets = counts(packed)
    up_to = list(accumulate(buckets))
    whole = up_to[-1]
    if not whole:
        return [None] * len(shares)
    found: list[float | None] = []
    for share in shares:
        wanted = share * whole
        bucket = bisect_left(up_to, wanted)
        low, above = _EDGES[bucket]
        below = up_to[bucket] - buckets[bucket]
        found.append(low + (above - 1 - low) * max(wanted - below, 1) / buckets[bucket])
    return found


def percentile(packed: int | str, share: float) -> float | None:
    """One of `percentiles`."""
    return percentiles(packed, (share,))[0]


def total(packed: int | str) -> float:
    """Milliseconds of all requests together, each taken to be in the middle of its bucket: off as a percentile is."""
    return sum(count * (low + above - 1) / 2 for count, (low, above) in zip(counts(packed), _EDGES, strict=False))


def packed(bucket: int, count: int = 1) -> int:
    number: int = count * _PLACE**bucket
    return number
