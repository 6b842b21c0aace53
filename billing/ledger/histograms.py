"""How long things took, as histograms that can be added up. No Django here.

Percentiles of parts say nothing about the whole; counts in fixed buckets do. A bucket is about 19 % wider than the one
before, so that a percentile read from one is at most that much off, and much less where many requests fall into it.

A histogram is one number: the count of bucket b stands in its decimal digits 12·b to 12·b + 11. Adding two such numbers
adds them bucket by bucket, which PostgreSQL's `numeric` does in C, in `sum()` as in `+` (docs/decisions.md).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

GROWTH = 2**0.25  # a bucket's upper bound by its lower one, but for rounding to whole milliseconds
DIGITS = 12  # of a bucket: a trillion requests
_PLACE = 10**DIGITS

# Milliseconds. Bucket 0 is below the first bound, bucket b from bound b - 1 up to bound b; the last is open, from
# 70 minutes on.
BOUNDS: tuple[int, ...] = tuple(dict.fromkeys(round(2 ** (step / 4)) for step in range(22 * 4 + 1)))
_EDGES = tuple(pairwise((0, *BOUNDS, BOUNDS[-1] + 1)))


def counts(packed: int | str) -> Iterator[tuple[int, int]]:
    """The buckets that hold something, as (bucket, requests), lowest first.

    Text is the number as PostgreSQL writes it, which is quicker to read than to make a number of.
    """
    digits = str(packed)
    for bucket, end in enumerate(range(len(digits), 0, -DIGITS)):
        count = int(digits[max(end - DIGITS, 0) : end])
        if count:
            yield bucket, count


def size(packed: int | str) -> int:
    """Of how many requests it tells."""
    return sum(count for _, count in counts(packed))


def percentiles(packed: int | str, shares: Sequence[float]) -> list[float | None]:
    """Milliseconds within which each share (0 to 1, rising) of the requests was done, interpolated inside one bucket.

    Off by less than GROWTH - 1 of the exact value, which is the one at place ⌈share · n⌉. Above the last bound, that
    bound. None: nothing was measured.
    """
    filled = list(counts(packed))
    whole = sum(count for _, count in filled)
    found: list[float | None] = []
    before, place = 0, 0  # the requests in the buckets below, and the bucket looked at
    for share in shares:
        wanted = share * whole
        while place < len(filled) and before + filled[place][1] < wanted:
            before += filled[place][1]
            place += 1
        if place == len(filled):
            found.append(None)
            continue
        bucket, count = filled[place]
        low, above = _EDGES[bucket]
        found.append(low + (above - 1 - low) * max(wanted - before, 1) / count)
    return found


def percentile(packed: int | str, share: float) -> float | None:
    """One of `percentiles`."""
    return percentiles(packed, (share,))[0]


def total(packed: int | str) -> float:
    """Milliseconds of all requests together, each taken to be in the middle of its bucket: off as a percentile is."""
    return sum(count * (_EDGES[bucket][0] + _EDGES[bucket][1] - 1) / 2 for bucket, count in counts(packed))


def approximate_sum(packed: int) -> float:
    """Milliseconds of all requests together, each taken to lie in the middle of its bucket: off by a tenth at most."""
    return sum(count * sum(_EDGES[bucket]) / 2 for bucket, count in counts(packed))


def packed(bucket: int, count: int = 1) -> int:
    number: int = count * _PLACE**bucket
    return number
