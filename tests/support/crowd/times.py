"""Chance and time, the same for every part of a crowd."""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta

from ovara.times import now

DAYS = 30


class Chance(random.Random):
    """Repeatable; `start` and `end` are the time in which everything happened."""

    def __init__(self) -> None:
        super().__init__(7)
        self.end = now()
        self.start = self.end - timedelta(days=DAYS)

    def one_in(self, number: int) -> bool:
        return self.randrange(number) == 0

    def recent(self) -> datetime:
        """Some moment of the last day."""
        return self.end - timedelta(seconds=self.uniform(0, 86_400))

    def key(self, moment: datetime) -> uuid.UUID:
        """A key as one made at that moment (UUID 7)."""
        milliseconds = int(moment.timestamp() * 1000)
        low = self.getrandbits(74)
        high, low = low >> 62, low & (1 << 62) - 1
        return uuid.UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)
