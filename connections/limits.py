"""How often something may happen."""

from __future__ import annotations

import time
from collections import OrderedDict

# Addresses remembered; the one not heard of for the longest is forgotten, with a full bucket.
MAX_ADDRESSES = 100_000


class Rate:
    """`per_second` on average, `burst` at once: the rule of a token bucket.

    A bucket is one number, the moment (`time.monotonic()`) when it is full again.
    """

    __slots__ = ("_per_second", "_spare")

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        # So many tokens may be missing where one is taken.
        self._spare = burst - 1

    def take(self, full_at: float) -> tuple[float, float]:
        """Take one token.

        Returns:
            0, or the seconds until there is one; and the bucket as it is now.
        """
        at = time.monotonic()
        missing = (full_at - at) * self._per_second
        if missing > self._spare:
            return (missing - self._spare) / self._per_second, full_at
        return 0.0, max(full_at, at) + 1 / self._per_second


class AddressBuckets:
    """A bucket for each address, for a bounded number of addresses."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = Rate(rate, burst)
        self._buckets: OrderedDict[str, float] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one for `address`. Returns 0, or the seconds until there is one."""
        wait, self._buckets[address] = self._rate.take(self._buckets.get(address, 0.0))
        self._buckets.move_to_end(address)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait
