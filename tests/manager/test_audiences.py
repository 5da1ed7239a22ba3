"""The hub's indexes: one connection, several, and none again."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from connections.audiences import Audiences
from connections.hub import ConnectionInfo
from connections.outbox import Outbox
from tests.support.in_process import FakeSocket


def connection(name: str) -> ConnectionInfo:
    return ConnectionInfo(name, Outbox(FakeSocket(), name, 10_000, repr, repr))


def test_the_first_and_the_last_of_an_audience_are_told() -> None:
    audiences = Audiences()
    one, two = connection("one"), connection("two")
    assert audiences.put("a", one) is True
    assert audiences.put("a", one) is False
    assert audiences.put("a", two) is False
    assert audiences.take("a", "stranger") is False
    assert audiences.take("a", "one") is False
    assert audiences.take("a", "one") is False
    assert audiences["a"] == {"two": two}
    assert audiences.take("a", "two") is True
    assert audiences.take("a", "two") is False
    assert not audiences
    with pytest.raises(KeyError):
        audiences["a"]


def test_members_are_those_of_the_moment() -> None:
    audiences = Audiences()
    assert list(audiences.members("a")) == []
    some = [connection(str(number)) for number in range(3)]
    for one in some:
        audiences.put("a", one)
    before = audiences.members("a")
    audiences.take("a", "1")
    assert list(before) == some
    assert list(audiences.members("a")) == [some[0], some[2]]


def test_whatever_comes_and_goes_they_show_what_sets_would() -> None:
    chance = random.Random(6)
    audiences, expected = Audiences(), defaultdict(set)
    some = {str(number): connection(str(number)) for number in range(4)}
    for _ in range(2_000):
        key, name = chance.choice("abc"), chance.choice(list(some))
        if chance.random() < 0.5:
            assert audiences.put(key, some[name]) is (not expected[key])
            expected[key].add(name)
        else:
            assert audiences.take(key, name) is (expected[key] == {name})
            expected[key].discard(name)
        assert {key: set(value) for key, value in audiences.items()} == {
            key: value for key, value in expected.items() if value
        }
