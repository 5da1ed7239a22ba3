"""Sessions over REST, and the state that a client keeps in one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ovara import background
from ovara.errors import Invalid, NotFound, TooLarge
from ovara.ids import new_id
from ovara.times import now, wire
from sessions_app.models import Session
from sessions_app.notes import session_state_replace
from sessions_app.signals import session_state_changed
from tests.rest.test_conversations import error


def session_of(user, **fields) -> Session:
    values = {"client_id": new_id(), "expires_at": now() + timedelta(days=1)} | fields
    return Session.objects.create(user=user, **values)


def test_one_sees_ones_own_the_most_recent_first(call_as, alice, bob):
    hour = timedelta(hours=1)
    older = session_of(alice, last_active_at=now() - hour, expires_at=now() + hour, state={"a": 1})
    newer = session_of(alice)
    session_of(bob)
    answer = call_as(alice).get("/api/sessions").json()
    assert answer["count"] == 2
    assert [row["id"] for row in answer["results"]] == [str(newer.pk), str(older.pk)]
    assert answer["results"][1] == {
        "id": str(older.pk),
        "client_id": str(older.client_id),
        "user": {"id": str(alice.pk), "username": "alice"},
        "state": {"a": 1},
        "created_at": wire(older.created_at),
        "last_active_at": wire(older.last_active_at),
        "expires_at": wire(older.expires_at),
    }


def test_staff_see_all(call_as, alice, bob, staff):
    session_of(alice)
    session_of(bob)
    assert call_as(staff).get("/api/sessions").json()["count"] == 2


def test_one_session_is_its_users_or_staffs(call_as, alice, bob, staff):
    session = session_of(alice)
    path = f"/api/sessions/{session.pk}"
    assert call_as(alice).get(path).json()["id"] == str(session.pk)
    assert call_as(staff).get(path).json()["user"]["username"] == "alice"
    foreign, missing = call_as(bob).get(path), call_as(bob).get(f"/api/sessions/{new_id()}")
    assert error(foreign) == (404, "not_found")
    assert foreign.json() == missing.json()


def test_an_expired_session_is_gone(bearer, alice):
    session = session_of(alice, expires_at=now() - timedelta(seconds=1))
    assert bearer(alice).get("/api/sessions").json()["count"] == 0
    assert bearer(alice).get(f"/api/sessions/{session.pk}").status_code == 404


def test_a_page_costs_a_bounded_number_of_queries(bearer, user, staff, django_assert_num_queries):
    client = bearer(staff)
    for number in range(20):
        session_of(user(f"user{number}"))
    # Token, user; count, page with its users.
    with django_assert_num_queries(4):
        assert client.get("/api/sessions").json()["count"] == 20


@pytest.mark.django_db(transaction=True)
class TestState:
    @pytest.fixture
    def heard(self):
        values = []

        def receive(sender, signal, **said):
            values.append(said)

        session_state_changed.connect(receive)
        yield values
        session_state_changed.disconnect(receive)

    def replace(self, session, state, **fields):
        values = {"session_id": str(session.pk), "client_id": str(session.client_id)} | fields
        background.run(session_state_replace(**values, state=state, origin="a-connection"))

    def test_it_is_replaced_as_a_whole_and_told(self, alice, heard):
        session = session_of(alice, state={"a": 1}, last_active_at=now() - timedelta(hours=1))
        self.replace(session, {"b": 2})
        session.refresh_from_db()
        assert session.state == {"b": 2}
        assert session.last_active_at > now() - timedelta(minutes=1)
        assert heard == [
            {"client_id": str(session.client_id), "state": {"b": 2}, "origin": "a-connection"}
        ]

    @pytest.mark.parametrize(
        ("state", "refusal"), [({"a": "x" * 16_384}, TooLarge), ({"a": "\x00"}, Invalid)]
    )
    def test_what_can_not_be_stored_changes_nothing(self, alice, heard, state, refusal):
        session = session_of(alice, state={"a": 1})
        with pytest.raises(refusal):
            self.replace(session, state)
        session.refresh_from_db()
        assert (session.state, heard) == ({"a": 1}, [])

    def test_a_session_that_is_gone_is_told_so(self, alice, heard):
        session = session_of(alice)
        with pytest.raises(NotFound, match="expired"):
            self.replace(session, {}, session_id=str(new_id()))
        assert heard == []
