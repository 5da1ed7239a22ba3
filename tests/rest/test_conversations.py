"""Conversations and their participants over REST."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ovara import background
from ovara.ids import is_id, new_id
from sessions_app.models import Conversation, Message, Participant, Role
from sessions_app.notes import read_position_move
from sessions_app.records import UserRef
from sessions_app.services import conversation_create, participant_remove
from sessions_app.signals import (
    conversation_changed,
    participant_added,
    participant_removed,
    read_moved,
)
from tests.support.stores import current_store

# As an id is written in a parameter: the same in every process of a test run.
SOME_ID = "c234382b-8aec-42e8-92e0-89595fdf8cca"


@pytest.fixture
def talk(alice, bob) -> Conversation:
    """alice's conversation with bob; carol has no part in it."""
    return conversation_create(owner=alice, title="Talk", usernames=["bob"])


@pytest.fixture
def told():
    """What the signals said, in order: [(name, values)]."""
    heard = []
    signals = {
        "changed": conversation_changed,
        "added": participant_added,
        "removed": participant_removed,
        "read": read_moved,
    }
    receivers = []
    for name, signal in signals.items():

        def receive(sender, signal, name=name, **values):
            heard.append((name, values))

        signal.connect(receive)
        receivers.append((signal, receive))
    yield heard
    for signal, receive in receivers:
        signal.disconnect(receive)


def messages(talk, *senders):
    """Messages of these senders, as the journal leaves them."""
    for sender in senders:
        talk.last_sequence += 1
        Message.objects.create(
            conversation=talk,
            sequence=talk.last_sequence,
            sender=sender,
            content=f"message {talk.last_sequence}",
            client_message_id=str(new_id()),
        )
    talk.save()


def path(talk, rest=""):
    return f"/api/conversations/{talk.pk}{rest}"


def usernames(body):
    return {part["user"]["username"]: part["role"] for part in body["participants"]}


def error(answer):
    assert set(answer.json()) == {"detail", "code"}, answer.json()
    return answer.status_code, answer.json()["code"]


class TestStarting:
    def test_the_caller_owns_it_and_the_others_are_members(self, call_as, alice, bob, carol):
        body = {"title": "Lunch", "participants": ["bob", "carol", "bob", "alice"]}
        answer = call_as(alice).post("/api/conversations", body, "json")

        assert answer.status_code == 201
        conversation = answer.json()
        assert set(conversation) == {
            "id",
            "epoch",
            "title",
            "created_by",
            "last_sequence",
            "unread",
            "participants",
            "created_at",
        }
        assert is_id(conversation["id"])
        assert 1 <= len(conversation["epoch"]) <= 64
        assert conversation["title"] == "Lunch"
        assert conversation["created_by"] == {"id": str(alice.pk), "username": "alice"}
        assert (conversation["last_sequence"], conversation["unread"]) == (0, 0)
        assert usernames(conversation) == {"alice": "owner", "bob": "member", "carol": "member"}

    def test_title_and_participants_may_be_left_out_or_null(self, bearer, alice):
        client = bearer(alice)
        for body in ({}, {"title": None, "participants": None}, {"title": "", "participants": []}):
            answer = client.post("/api/conversations", body, "json")
            assert answer.status_code == 201
            assert answer.json()["title"] == ""
            assert usernames(answer.json()) == {"alice": "owner"}

    def test_times_are_written_in_milliseconds_and_utc(self, bearer, alice):
        body = bearer(alice).post("/api/conversations", {}, "json").json()
        for text in (body["created_at"], body["participants"][0]["joined_at"]):
            moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            assert len(text) == len("2026-01-01T00:00:00.000Z")
            assert abs((datetime.now(UTC) - moment).total_seconds()) < 60

    def test_unknown_names_are_told_and_nothing_is_stored(self, bearer, alice, bob):
        body = {"participants": ["bob", "zoe", "yan"]}
        answer = bearer(alice).post("/api/conversations", body, "json")
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid"
        assert len(answer.json()["fields"]["participants"]) == 2
        assert not Conversation.objects.exists()

    def test_a_deactivated_user_is_unknown(self, bearer, alice, user):
        user("gone", is_active=False)
        body = {"participants": ["gone"]}
        assert bearer(alice).post("/api/conversations", body, "json").status_code == 400

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"title": "x" * 201}, "title"),
            ({"title": 7}, "title"),
            ({"title": "a\x00b"}, "title"),
            ({"title": ["x"]}, "title"),
            ({"participants": "bob"}, "participants"),
            ({"participants": [7]}, "participants.0"),
            ({"participants": ["bob", {}]}, "participants.1"),
            ({"participants": ["a\x00b"]}, "participants.0"),
            ({"participants": [f"name{number}" for number in range(1001)]}, "participants"),
            ([], "non_field_errors"),
            ("text", "non_field_errors"),
        ],
    )
    def test_wrong_fields_are_named(self, bearer, alice, body, field):
        answer = bearer(alice).post("/api/conversations", body, "json")
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid"
        assert list(answer.json()["fields"]) == [field]
        assert not Conversation.objects.exists()

    def test_a_title_is_counted_in_code_points_and_kept_as_it_is(self, bearer, alice):
        title = " " + "🎈" * 198 + " "
        answer = bearer(alice).post("/api/conversations", {"title": title}, "json")
        assert answer.json()["title"] == title

    @pytest.mark.django_db(transaction=True)
    def test_every_participant_is_told_once(self, bearer, alice, bob, told):
        body = {"participants": ["bob"]}
        conversation_id = bearer(alice).post("/api/conversations", body, "json").json()["id"]
        assert told == [
            ("added", {"conversation_id": conversation_id, "user_id": str(alice.pk)}),
            ("added", {"conversation_id": conversation_id, "user_id": str(bob.pk)}),
        ]


class TestReading:
    def test_participants_see_it(self, call_as, talk, alice, bob):
        for person in (alice, bob):
            answer = call_as(person).get(path(talk))
            assert answer.status_code == 200
            assert answer.json()["id"] == str(talk.pk)

    def test_one_that_is_not_there_looks_like_one_of_others(self, call_as, talk, carol, staff):
        for person in (carol, staff):
            client = call_as(person)
            foreign = client.get(path(talk))
            missing = client.get(f"/api/conversations/{new_id()}")
            assert error(foreign) == (404, "not_found")
            assert foreign.json() == missing.json()
            assert str(talk.pk) not in foreign.content.decode()

    @pytest.mark.parametrize(
        "text", ["1", "not-an-id", SOME_ID.upper(), SOME_ID.replace("-", ""), f"{SOME_ID}\n"]
    )
    def test_what_is_no_id_is_404(self, bearer, alice, text):
        assert error(bearer(alice).get(f"/api/conversations/{text}")) == (404, "not_found")

    def test_unread_are_the_others_messages_above_the_read_position(self, bearer, talk, alice, bob):
        messages(talk, alice, bob, bob, alice, None, bob)
        Participant.objects.filter(user=alice).update(last_read_sequence=2)
        assert bearer(alice).get(path(talk)).json()["unread"] == 3
        assert bearer(bob).get(path(talk)).json()["unread"] == 3
        Participant.objects.filter(user=alice).update(last_read_sequence=6)
        assert bearer(alice).get(path(talk)).json()["unread"] == 0

    def test_it_survives_its_creator(self, bearer, talk, alice, bob):
        alice.delete()
        answer = bearer(bob).get(path(talk))
        assert answer.json()["created_by"] is None
        assert usernames(answer.json()) == {"bob": "member"}


class TestListing:
    def test_one_sees_ones_own_the_most_recent_first(self, call_as, alice, bob, carol):
        mine = [conversation_create(owner=alice, title=str(number)) for number in range(3)]
        conversation_create(owner=bob, usernames=["carol"])
        Conversation.objects.filter(pk=mine[0].pk).update(
            updated_at=datetime(2100, 1, 1, tzinfo=UTC)
        )
        answer = call_as(alice).get("/api/conversations").json()
        assert set(answer) == {"count", "next", "previous", "results"}
        assert (answer["count"], answer["next"], answer["previous"]) == (3, None, None)
        assert [row["title"] for row in answer["results"]] == ["0", "2", "1"]

    def test_pages_follow_each_other(self, bearer, alice):
        for number in range(5):
            talk = conversation_create(owner=alice, title=str(number))
            talk.updated_at = datetime(2100, 1, number + 1, tzinfo=UTC)
            talk.save()
        client = bearer(alice)
        seen, url = [], "/api/conversations?page_size=2"
        while url:
            answer = client.get(url).json()
            assert answer["count"] == 5
            seen.append([row["title"] for row in answer["results"]])
            url = answer["next"]
        assert seen == [["4", "3"], ["2", "1"], ["0"]]
        assert answer["previous"].endswith("page=2&page_size=2")

    @pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "", "101", "１", "9" * 30])
    def test_a_page_size_is_from_1_to_100(self, bearer, alice, number):
        answer = bearer(alice).get("/api/conversations", {"page_size": number})
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == ["page_size"]

    @pytest.mark.parametrize("number", ["0", "-1", "x", "last", "", "9" * 30])
    def test_a_page_is_a_number_from_1(self, bearer, alice, number):
        answer = bearer(alice).get("/api/conversations", {"page": number})
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == ["page"]

    def test_a_page_past_the_end_is_404(self, bearer, alice):
        answer = bearer(alice).get("/api/conversations?page=2")
        assert error(answer) == (404, "not_found")

    def test_a_page_costs_a_bounded_number_of_queries(
        self, bearer, alice, bob, carol, django_assert_num_queries
    ):
        client = bearer(alice)
        for _ in range(20):
            talk = conversation_create(owner=alice, usernames=["bob", "carol"])
            messages(talk, bob, alice, carol)
        # Token, user; count, page; participants, users, own messages. MongoDB: ids before the page.
        with django_assert_num_queries(8 if current_store().kind == "mongodb" else 7):
            answer = client.get("/api/conversations?page_size=20").json()
        assert [row["unread"] for row in answer["results"]] == [2] * 20
        assert all(len(row["participants"]) == 3 for row in answer["results"])


class TestRenaming:
    def test_the_owner_gives_another_title(self, call_as, talk, alice):
        answer = call_as(alice).patch(path(talk), {"title": "x" * 200}, "json")
        assert answer.status_code == 200
        assert answer.json()["title"] == "x" * 200
        talk.refresh_from_db()
        assert talk.title == "x" * 200

    def test_a_member_may_not_and_a_stranger_sees_nothing(self, call_as, talk, bob, carol):
        assert error(call_as(bob).patch(path(talk), {"title": "x"}, "json")) == (403, "forbidden")
        assert error(call_as(carol).patch(path(talk), {"title": "x"}, "json")) == (404, "not_found")
        talk.refresh_from_db()
        assert talk.title == "Talk"

    @pytest.mark.parametrize("title", ["", None, "x" * 201, 7, "a\x00b"])
    def test_a_title_has_1_to_200_characters(self, bearer, talk, alice, title):
        answer = bearer(alice).patch(path(talk), {"title": title}, "json")
        assert answer.status_code == 400
        assert list(answer.json()["fields"]) == ["title"]

    def test_the_title_is_required(self, bearer, talk, alice):
        assert bearer(alice).patch(path(talk), {}, "json").status_code == 400

    @pytest.mark.django_db(transaction=True)
    def test_it_is_told(self, bearer, talk, alice, told):
        told.clear()
        bearer(alice).patch(path(talk), {"title": "New"}, "json")
        assert told == [("changed", {"conversation_id": str(talk.pk)})]


class TestInviting:
    def test_the_owner_brings_somebody_in(self, call_as, talk, alice, carol):
        answer = call_as(alice).post(path(talk, "/participants"), {"username": "carol"}, "json")
        assert answer.status_code == 201
        assert set(answer.json()) == {"user", "role", "last_read_sequence", "joined_at"}
        assert answer.json()["user"] == {"id": str(carol.pk), "username": "carol"}
        assert (answer.json()["role"], answer.json()["last_read_sequence"]) == ("member", 0)
        assert call_as(carol).get(path(talk)).status_code == 200

    def test_who_is_in_already_stays_as_they_are(self, bearer, talk, alice):
        for name, role in (("bob", "member"), ("alice", "owner")):
            answer = bearer(alice).post(path(talk, "/participants"), {"username": name}, "json")
            assert (answer.status_code, answer.json()["role"]) == (200, role)
        assert Participant.objects.count() == 2

    @pytest.mark.parametrize("name", ["zoe", "gone", "", None, 7, "x" * 151, "a\x00b"])
    def test_an_unknown_name_is_400(self, bearer, talk, alice, user, name):
        user("gone", is_active=False)
        answer = bearer(alice).post(path(talk, "/participants"), {"username": name}, "json")
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid"
        assert list(answer.json()["fields"]) == ["username"]

    def test_a_member_may_not_and_a_stranger_sees_nothing(self, call_as, talk, bob, carol):
        body = {"username": "carol"}
        answer = call_as(bob).post(path(talk, "/participants"), body, "json")
        assert error(answer) == (403, "forbidden")
        answer = call_as(carol).post(path(talk, "/participants"), body, "json")
        assert error(answer) == (404, "not_found")
        assert Participant.objects.count() == 2

    @pytest.mark.django_db(transaction=True)
    def test_it_is_told_once(self, bearer, talk, alice, carol, told):
        told.clear()
        for _ in range(2):
            bearer(alice).post(path(talk, "/participants"), {"username": "carol"}, "json")
        assert told == [("added", {"conversation_id": str(talk.pk), "user_id": str(carol.pk)})]

    def test_a_conversation_can_be_full(self, bearer, talk, alice, carol, monkeypatch):
        monkeypatch.setattr("sessions_app.services.MAX_PARTICIPANTS", 2)
        answer = bearer(alice).post(path(talk, "/participants"), {"username": "carol"}, "json")
        assert answer.status_code == 400


class TestRemoving:
    def test_the_owner_removes_a_member(self, call_as, talk, alice, bob):
        answer = call_as(alice).delete(path(talk, "/participants/bob"))
        assert (answer.status_code, answer.content) == (204, b"")
        assert call_as(bob).get(path(talk)).status_code == 404

    def test_a_member_removes_itself(self, call_as, talk, bob):
        assert call_as(bob).delete(path(talk, "/participants/bob")).status_code == 204
        assert call_as(bob).get(path(talk)).status_code == 404

    def test_a_member_removes_nobody_else(self, bearer, talk, alice, bob, carol):
        Participant.objects.create(conversation=talk, user=carol)
        for name in ("alice", "carol", "zoe"):
            answer = bearer(bob).delete(path(talk, f"/participants/{name}"))
            assert error(answer) == (403, "forbidden")

    def test_the_owner_cant_be_removed(self, bearer, talk, alice):
        answer = bearer(alice).delete(path(talk, "/participants/alice"))
        assert error(answer) == (403, "forbidden")
        assert Participant.objects.get(user=alice).role == Role.OWNER

    def test_who_is_not_in_it_is_404(self, bearer, talk, alice, carol):
        for name in ("carol", "zoe"):
            answer = bearer(alice).delete(path(talk, f"/participants/{name}"))
            assert error(answer) == (404, "not_found")

    def test_a_stranger_sees_nothing(self, bearer, talk, carol):
        for name in ("bob", "carol"):
            answer = bearer(carol).delete(path(talk, f"/participants/{name}"))
            assert error(answer) == (404, "not_found")
        assert Participant.objects.count() == 2

    @pytest.mark.django_db(transaction=True)
    def test_it_is_told(self, bearer, talk, alice, bob, told):
        told.clear()
        bearer(alice).delete(path(talk, "/participants/bob"))
        assert told == [("removed", {"conversation_id": str(talk.pk), "user_id": str(bob.pk)})]

    def test_server_code_needs_no_leave(self, talk):
        participant_remove(conversation=talk, username="bob")
        assert Participant.objects.count() == 1


@pytest.mark.django_db(transaction=True)
class TestReadPosition:
    def move(self, talk, user, sequence, origin=None):
        return background.run(
            read_position_move(
                conversation_id=str(talk.pk),
                user=UserRef(str(user.pk), user.username),
                sequence=sequence,
                origin=origin,
            )
        )

    def test_it_moves_forward_and_never_past_the_newest(self, talk, bob, alice, told):
        messages(talk, alice, alice, alice)
        told.clear()
        assert self.move(talk, bob, 2, "a-connection") == 2
        assert self.move(talk, bob, 1) == 2
        assert self.move(talk, bob, 2) == 2
        assert self.move(talk, bob, 2**53 - 1) == 3
        assert Participant.objects.get(user=bob).last_read_sequence == 3
        moved = [(values["sequence"], values["origin"]) for name, values in told if name == "read"]
        assert moved == [(2, "a-connection"), (3, None)]
        assert Participant.objects.get(user=alice).last_read_sequence == 0

    def test_a_stranger_has_none(self, talk, carol, told):
        from ovara.errors import NotFound

        told.clear()
        with pytest.raises(NotFound):
            self.move(talk, carol, 1)
        assert told == []
