"""Looking up many pairs of keys, such as (conversation, user), in a few queries.

`first IN (…) AND second IN (…)` is what every database and the ORM can say, but to answer it by an
index on both, a database looks up every combination: of 500 pairs a quarter of a million. A branch
for each pair is looked up at once, but the ORM takes long to build it: that is for statements that
are prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Q, QuerySet

from ovara.ids import key_of
from ovara.prepared import SQL_VENDORS, PreparedSelect

First = TypeVar("First", bound=Any)
Second = TypeVar("Second", bound=Any)

# Combinations that one query looks up at the most. One query for 512 pairs took SQLite 180 ms, one
# for 32 pairs 0.7 ms.
COMBINATIONS = 256
# Branches of one prepared query. A power of two, which is how many it has room for anyway. 128
# pairs take SQLite 0.1 ms, and 0.6 in the queries of `few_by_few`.
BRANCHES = 128


def few_by_few(pairs: Iterable[tuple[First, Second]]) -> Iterator[tuple[list[First], list[Second]]]:
    """The values for `first IN (…) AND second IN (…)` of as few queries as are needed.

    Such a query may also find pairs that were not asked for.
    """
    firsts: dict[First, None] = {}
    seconds: dict[Second, None] = {}
    for first, second in sorted(set(pairs)):
        count = (len(firsts) + (first not in firsts)) * (len(seconds) + (second not in seconds))
        if count > COMBINATIONS:
            yield list(firsts), list(seconds)
            firsts, seconds = {}, {}
        firsts[first] = seconds[second] = None
    if firsts:
        yield list(firsts), list(seconds)


class PreparedPairs:
    """A SELECT by pairs of ids.

    Args:
        first, second: the names of the two fields.
        build: gives the `values_list` queryset for a condition on them, its only one.
    """

    def __init__(self, first: str, second: str, build: Callable[[Q], QuerySet[Any, Any]]) -> None:
        self._first, self._second, self._build = first, second, build
        self._select = PreparedSelect(lambda *keys: build(self._branches(*keys)))

    def rows(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[Any, ...]]:
        """The rows of these pairs, with the database's own values (see `as_uuid`). Without SQL,
        those of others may be among them."""
        if connection.vendor not in SQL_VENDORS:
            return [
                row
                for firsts, seconds in few_by_few(pairs)
                for row in self._build(
                    Q(**{f"{self._first}__in": firsts, f"{self._second}__in": seconds})
                )
            ]
        wanted = sorted(set(pairs))
        return [
            row
            for start in range(0, len(wanted), BRANCHES)
            for row in self._select.rows(*_columns(wanted[start : start + BRANCHES]))
        ]

    def _branches(self, firsts: Sequence[Any], seconds: Sequence[Any]) -> Q:
        pairs = zip(firsts, seconds, strict=True)
        return reduce(or_, (Q(**{self._first: one, self._second: two}) for one, two in pairs))


def _columns(pairs: Sequence[tuple[str, str]]) -> tuple[list[Any], list[Any]]:
    return [key_of(first) for first, _ in pairs], [key_of(second) for _, second in pairs]
