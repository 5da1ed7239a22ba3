"""Statements that the ORM compiles once and that then run with other values.

Most of a short query's time in the ORM is spent on building it anew (PERF: 1.5 ms of 2 for a batch
of one message). On the hot path the same few statements come again and again, so their text is
kept. The ORM still writes it, so it is right on every SQL database; where there is no SQL
(MongoDB) the same query simply goes through the ORM.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from operator import attrgetter
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet, sql
from django.utils.encoding import force_str

from ovara.ids import IDS_REMEMBERED

# Texts kept for one statement.
MAX_SHAPES = 1_000
SQL_VENDORS = frozenset({"sqlite", "postgresql", "mysql", "oracle"})

Adapters = dict[type, Callable[[Any], Any]]


def this_database() -> BaseDatabaseWrapper:
    """This thread's connection; asked for once a run, since each look-up has its price."""
    return connections["default"]


class Moments(dict[datetime, Any]):
    """Moments as the driver wants them. A batch has the same one in every row."""

    def __init__(self, adapt: Callable[[datetime], Any]) -> None:
        self._adapt = adapt

    def __missing__(self, moment: datetime) -> Any:
        self[moment] = adapted = self._adapt(moment)
        return adapted


def _adapters(database: BaseDatabaseWrapper) -> Adapters:
    """For each type that is not the driver's own, what makes it so."""
    ops = database.ops
    adapters: Adapters = {
        datetime: Moments(ops.adapt_datetimefield_value).__getitem__,
        IPv4Address: lambda value: ops.adapt_ipaddressfield_value(str(value)),
        IPv6Address: lambda value: ops.adapt_ipaddressfield_value(str(value)),
    }
    if not database.features.has_native_uuid_field:
        adapters[uuid.UUID] = attrgetter("hex")
    return adapters


def _adapted(values: Iterable[Any], adapters: Adapters) -> list[Any]:
    """`values` as the driver wants them."""
    return [
        value if (adapt := adapters.get(type(value))) is None else adapt(value) for value in values
    ]


@functools.lru_cache(IDS_REMEMBERED)
def as_uuid(value: Any) -> str:
    """A UUID column of a raw row, as text with hyphens."""
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(force_str(value)))


def as_moment(value: Any) -> datetime:
    """A moment's column of a raw row. SQLite has it as text, in UTC, without saying so."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(force_str(value))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def as_json(value: Any) -> Any:
    """A JSON column of a raw row; SQL's drivers hand over the text."""
    return json.loads(value) if isinstance(value, str | bytes) else value


_sentinel_numbers = count(7_000_000_000_000)


def _sentinel(value: Any) -> Any:
    """A value of the same type that stands for an argument while a statement is compiled."""
    number = next(_sentinel_numbers)
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=number)
    if isinstance(value, datetime):
        return datetime.fromtimestamp(number / 1000, UTC)
    if isinstance(value, IPv4Address | IPv6Address):
        return IPv6Address(number)
    return number if isinstance(value, int) else f"sentinel {number}"


def _padded(arguments: Sequence[Any]) -> list[Any]:
    """The arguments, each list as long as the next power of two: few lengths, so few texts.

    Its last value again says nothing new to the only place for a list, `IN (…)`.
    """
    return [
        item + item[-1:] * ((1 << (len(item) - 1).bit_length()) - len(item))
        if type(item) is list and item
        else item
        for item in arguments
    ]


def _flat(arguments: Sequence[Any]) -> list[Any]:
    """The arguments, lists among them one by one."""
    return [one for item in arguments for one in (item if type(item) is list else (item,))]


class _Compiled:
    """A statement's text, and which (flattened) argument stands at each place."""

    def __init__(
        self,
        text: str,
        parameters: Iterable[Any],
        sentinels: Sequence[Any],
        adapters: Adapters,
    ) -> None:
        self.text = text
        self.has_lists = any(type(one) is list for one in sentinels)
        places = {value: place for place, value in enumerate(_adapted(_flat(sentinels), adapters))}
        self._places = [places[value] for value in parameters]

    def parameters(self, arguments: Sequence[Any], adapters: Adapters) -> list[Any]:
        adapted = _adapted(_flat(arguments) if self.has_lists else arguments, adapters)
        return [adapted[place] for place in self._places]


class _Prepared:
    """Keeps one compiled text for each shape of its arguments (the lengths of lists)."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str | int, ...], _Compiled] = {}

    def _for(self, database: BaseDatabaseWrapper, arguments: Sequence[Any]) -> _Compiled:
        key: tuple[str | int, ...] = (
            database.vendor,
            *(len(item) if type(item) is list else -1 for item in arguments),
        )
        found = self._compiled.get(key)
        if found is None:
            if len(self._compiled) >= MAX_SHAPES:
                self._compiled.clear()
            sentinels = [
                [_sentinel(one) for one in item] if type(item) is list else _sentinel(item)
                for item in arguments
            ]
            text, parameters = self._compile(database, sentinels)
            found = _Compiled(text, parameters, sentinels, _adapters(database))
            self._compiled[key] = found
        return found

    def _compile(
        self, database: BaseDatabaseWrapper, sentinels: Sequence[Any]
    ) -> tuple[str, Iterable[Any]]:
        raise NotImplementedError


class PreparedSelect(_Prepared):
    """A SELECT. `build(*arguments)` gives the `values_list` queryset it is compiled from; every
    argument must be a parameter of the statement, and nothing else may be one."""

    def __init__(self, build: Callable[..., QuerySet[Any, Any]]) -> None:
        super().__init__()
        self._build = build

    def rows(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """The rows, with the database's own values (see `as_uuid`)."""
        database = this_database()
        if database.vendor not in SQL_VENDORS:
            return list(self._build(*arguments))
        padded = _padded(arguments)
        compiled = self._for(database, padded)
        with database.cursor() as cursor:
            cursor.execute(compiled.text, compiled.parameters(padded, _adapters(database)))
            return list(cursor.fetchall())

    def _compile(
        self, database: BaseDatabaseWrapper, sentinels: Sequence[Any]
    ) -> tuple[str, Iterable[Any]]:
        text, parameters = self._build(*sentinels).query.sql_with_params()
        return text, parameters


class PreparedUpdate(_Prepared):
    """An UPDATE. `build(*arguments)` gives the queryset and the new values."""

    def __init__(self, build: Callable[..., tuple[QuerySet[Any, Any], dict[str, Any]]]) -> None:
        super().__init__()
        self._build = build

    def run(self, rows: Sequence[Sequence[Any]]) -> None:
        """Run it once with the arguments of each row."""
        if not rows:
            return
        database = this_database()
        if database.vendor not in SQL_VENDORS:
            for row in rows:
                queryset, values = self._build(*row)
                queryset.update(**values)
            return
        compiled, adapters = self._for(database, _padded(rows[0])), _adapters(database)
        if compiled.has_lists:
            rows = [_padded(row) for row in rows]
        with database.cursor() as cursor:
            cursor.executemany(compiled.text, [compiled.parameters(row, adapters) for row in rows])

    def _compile(
        self, database: BaseDatabaseWrapper, sentinels: Sequence[Any]
    ) -> tuple[str, Iterable[Any]]:
        queryset, values = self._build(*sentinels)
        query: Any = queryset.query.chain(sql.UpdateQuery)
        query.add_update_values(values)
        text, parameters = query.get_compiler(connection=database).as_sql()
        return text, parameters
