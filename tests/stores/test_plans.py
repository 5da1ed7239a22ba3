"""The hot queries on a small and on a large database: their plans, their number, their work.

`TEST_STORE=postgresql` explains them there. docs/performance.md has what they take with a million
messages (`python -m benchmarks.scale`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from connections import joining
from ovara.admin import lists
from sessions_app import unread
from sessions_app.models import Message
from sessions_app.selectors import history
from tests.stores.calls import ADMIN, HOT, SWEEPS
from tests.stores.calls.calls import Call, rest
from tests.stores.plans import Seen, watched
from tests.support.crowd import Crowd, Size, fill
from tests.support.flush import delete_all_rows

# `django_db`: without a test that has it there would be no tables.
pytestmark = [pytest.mark.stores("sqlite", "postgresql"), pytest.mark.django_db]

TIMES = 6
SMALL = Size(messages=6_000, conversations=300, open_connections=600)
LARGE = Size(*(TIMES * number for number in dataclasses.astuple(SMALL)))
# Lists in the admin reach back over so many rows, here.
REACH = 250
# Tables are small, and depths of trees, numbers of chunks and luck of the draw differ.
SLACK, SLACK_STEPS = 1.5, 60
# What may cost more where there is more: a node's own open connections; sessions that have expired,
# until they fill a page; all users' names.
MORE_BY_NATURE = {"Connection of a node", "Session expired"} | {
    name for name in ADMIN if "by " in name
}
# Pairs are looked up a few at a time: in how many queries depends on which they are.
FEW_BY_FEW = {"joining_of_many_in_many", "messages_of_many_in_many"}
SLACK_QUERIES = 4
# On so few conversations PostgreSQL goes through an index of all: not judged there yet.
SQLITE_ALONE = {
    "conversations",
    "conversations_second_page",
    "Conversation of a participant",
    "Conversation by title",
}

CALLS: dict[str, Call] = HOT | SWEEPS | ADMIN
same_at_every_size = pytest.mark.parametrize("name", sorted((HOT | ADMIN).keys() - MORE_BY_NATURE))


@dataclasses.dataclass(frozen=True)
class Measured:
    """What each call did on the small and on the large database."""

    small: dict[str, Seen]
    large: dict[str, Seen]
    crowd: Crowd


@pytest.fixture(scope="module")
def measured(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Measured]:
    """The large crowd stays while the module's tests run."""
    # The crowd's nodes never beat.
    patient = dataclasses.replace(settings.OVARA, node_lapse_seconds=86_400.0)
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr(settings, "OVARA", patient)
        patch.setattr(lists, "REACH", REACH)
        try:
            small = _measure(fill(SMALL))
            delete_all_rows()
            crowd = fill(LARGE)
            yield Measured(small, _measure(crowd), crowd)
        finally:
            delete_all_rows()


def _measure(crowd: Crowd) -> dict[str, Seen]:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    # What a process asks once, such as content types.
    _seen(ADMIN["Message first page"], crowd)
    return {name: _seen(call, crowd) for name, call in CALLS.items()}


def _seen(call: Callable[[Crowd], object], crowd: Crowd) -> Seen:
    # As in a process that has just begun.
    unread._counted.clear()
    with transaction.atomic():
        with watched() as seen:
            call(crowd)
        transaction.set_rollback(True)
    return seen


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.stores("sqlite")) if name in SQLITE_ALONE else name
        for name in CALLS
    ],
)
def test_no_query_reads_the_whole_of_a_table_that_grows(name: str, measured: Measured) -> None:
    assert measured.large[name].statements
    scans = [one for one in measured.large[name].scans if "username" not in one]
    assert not scans


@same_at_every_size
def test_as_many_queries_are_made_on_a_large_database(name: str, measured: Measured) -> None:
    small, large = (len(one[name].statements) for one in (measured.small, measured.large))
    assert abs(large - small) <= (SLACK_QUERIES if name in FEW_BY_FEW else 0)


# What PostgreSQL reads depends on its statistics, more than these bounds allow for.
@pytest.mark.stores("sqlite")
@same_at_every_size
def test_the_work_is_the_same_on_a_large_database(name: str, measured: Measured) -> None:
    small, large = measured.small[name].work, measured.large[name].work
    assert small
    assert large <= SLACK * small + SLACK_STEPS


@pytest.mark.stores("sqlite")
@pytest.mark.parametrize("name", [*SWEEPS, *sorted(MORE_BY_NATURE)])
def test_the_work_of_a_sweep_grows_with_what_is_there_and_no_more(
    name: str, measured: Measured
) -> None:
    small, large = measured.small[name].work, measured.large[name].work
    assert large <= SLACK * TIMES * small


@pytest.mark.parametrize("few_and_many", [(10, 200)])
@pytest.mark.parametrize(
    "page",
    [
        lambda crowd, count: history(conversation_id=crowd.giant, limit=count),
        lambda crowd, count: history(conversation_id=crowd.giant, limit=count, after=5),
        lambda crowd, count: joining.look_up(crowd.giant, crowd.giant_length - count, None),
        lambda crowd, count: rest(crowd.alice, "/api/conversations", page_size=count // 2),
    ],
    ids=["history", "history after", "join", "conversations"],
)
def test_a_long_page_takes_as_many_queries_as_a_short_one(
    page: Callable[[Crowd, int], object], few_and_many: tuple[int, int], measured: Measured
) -> None:
    few, many = (
        _seen(lambda crowd, count=count: page(crowd, count), measured.crowd)
        for count in few_and_many
    )
    assert len(few.statements) == len(many.statements) <= 10


def test_a_scan_would_be_seen(measured: Measured) -> None:
    seen = _seen(lambda _: list(Message.objects.filter(content="nobody's")), measured.crowd)
    assert len(seen.scans) == 1
    assert seen.work >= LARGE.messages // 2
