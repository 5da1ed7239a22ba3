"""Times: UTC, whole milliseconds (what every database keeps), RFC 3339 on the wire."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime, timedelta

# By how much the clocks of two nodes may differ (docs/operations.md, "Several processes").
CLOCK_TOLERANCE = timedelta(seconds=5)


def now() -> datetime:
    """This moment in UTC, cut to milliseconds."""
    return cut(datetime.now(UTC))


def cut(moment: datetime) -> datetime:
    """`moment` without the microseconds that MongoDB would drop."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def wire(moment: datetime) -> str:
    """`moment` as the protocol writes it: `2026-01-01T00:00:00.000Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def wire_now() -> str:
    """This moment, as the protocol writes it."""
    return _wire_of(time.time_ns() // 1_000_000)


@functools.lru_cache(1)
def _wire_of(milliseconds: int) -> str:
    """Remembered: in one millisecond many may ask."""
    return wire(datetime.fromtimestamp(milliseconds / 1000, UTC))


def optional_wire(moment: datetime | None) -> str | None:
    """Like `wire`, and None for None."""
    return None if moment is None else wire(moment)
