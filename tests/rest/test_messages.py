"""Messages over REST: posted the way frames post them, and read in pages."""

from __future__ import annotations

import json

import pytest

from ovara.ids import is_id, new_id
from sessions_app import selectors
from sessions_app.models import Conversation, Message
from sessions_app.services import conversation_create, participant_remove
from sessions_app.signals import message_committed
from sessions_app.unread import conversation_news
from tests.rest.test_conversations import error, messages, path


@pytest.fixture
def talk(alice, bob) -> Conversation:
    return conversation_create(owner=alice, title="Talk", usernames=["bob"])


@pytest.mark.django_db(transaction=True)
class TestPosting:
    def test_a_message_is_stored_and_answered(self, call_as, talk, alice):
        body = {
            "content": " hello ",
            "client_message_id": "one",
            "metadata": {"a": [1, None, "é"]},
        }
        answer = call_as(alice).post(path(talk, "/messages"), body, "json")

        assert answer.status_code == 201
        message = answer.json()
        assert is_id(message.pop("id"))
        assert message.pop("created_at").endswith("Z")
        assert message == {
            "conversation_id": str(talk.pk),
            "sequence": 1,
            "role": "user",
            "sender": {"id": str(alice.pk), "username": "alice"},
            "content": " hello ",
            "metadata": {"a": [1, None, "é"]},
            "client_message_id": "one",
            "status": "complete",
        }
        assert Message.objects.get().content == " hello "

    @pytest.mark.parametrize("content", [" ", "\n", "\u2028", "x " * 16_384])
    def test_white_space_is_content_as_in_a_frame(self, bearer, talk, alice, content):
        answer = bearer(alice).post(path(talk, "/messages"), {"content": content}, "json")
        assert (answer.status_code, answer.json()["content"]) == (201, content)

    def test_the_same_id_again_gets_the_first_message(self, bearer, talk, alice, bob):
        first = bearer(alice).post(
            path(talk, "/messages"), {"content": "one", "client_message_id": "x"}, "json"
        )
        again = bearer(alice).post(
            path(talk, "/messages"), {"content": "two", "client_message_id": "x"}, "json"
        )
        assert (again.status_code, again.json()) == (200, first.json())
        of_bob = bearer(bob).post(
            path(talk, "/messages"), {"content": "two", "client_message_id": "x"}, "json"
        )
        assert (of_bob.status_code, of_bob.json()["sequence"]) == (201, 2)

    def test_without_an_id_each_is_a_message_of_its_own(self, bearer, talk, alice):
        client = bearer(alice)
        answers = [
            client.post(path(talk, "/messages"), {"content": "x", **nothing}, "json")
            for nothing in ({}, {"client_message_id": None, "metadata": None})
        ]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert [answer.json()["sequence"] for answer in answers] == [1, 2]
        assert all(answer.json()["metadata"] == {} for answer in answers)

    def test_it_is_told_like_any_other_message(self, bearer, talk, alice):
        heard = []

        def receive(sender, message, origin, **_):
            heard.append((message.content, origin))

        message_committed.connect(receive)
        try:
            bearer(alice).post(path(talk, "/messages"), {"content": "x"}, "json")
        finally:
            message_committed.disconnect(receive)
        assert heard == [("x", None)]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "content"),
            ({"content": ""}, "content"),
            ({"content": None}, "content"),
            ({"content": 7}, "content"),
            ({"content": "a\x00b"}, "content"),
            ({"content": "x", "client_message_id": ""}, "client_message_id"),
            ({"content": "x", "client_message_id": "y" * 65}, "client_message_id"),
            ({"content": "x", "client_message_id": 7}, "client_message_id"),
            ({"content": "x", "client_message_id": "\x00"}, "client_message_id"),
            ({"content": "x", "metadata": []}, "metadata"),
            ({"content": "x", "metadata": "{}"}, "metadata"),
            ({"content": "x", "metadata": {"a": "\x00"}}, "metadata"),
            ({"content": "x", "metadata": {"a": 2**53}}, "metadata"),
        ],
    )
    def test_wrong_fields_are_named_and_nothing_is_stored(self, bearer, talk, alice, body, field):
        answer = bearer(alice).post(path(talk, "/messages"), body, "json")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert list(answer.json()["fields"]) == [field]
        assert not Message.objects.exists()

    @pytest.mark.parametrize("field", ["content", "client_message_id", "metadata"])
    def test_a_lone_surrogate_is_invalid(self, bearer, talk, alice, field):
        lone = r'"\ud800"'
        raw = {"content": '"x"', field: f'{{"a": {lone}}}' if field == "metadata" else lone}
        body = "{" + ",".join(f'"{name}": {value}' for name, value in raw.items()) + "}"
        answer = bearer(alice).post(path(talk, "/messages"), body, content_type="application/json")
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])

    @pytest.mark.parametrize(
        "body",
        [
            {"content": "x" * 32_769},
            {"content": "🎈" * 32_769},
            {"content": "x", "metadata": {"a": "x" * 16_384}},
        ],
    )
    def test_what_is_too_much_is_too_large(self, bearer, talk, alice, body):
        answer = bearer(alice).post(path(talk, "/messages"), body, "json")
        assert error(answer) == (400, "too_large")

    def test_the_largest_message_passes_however_it_is_escaped(self, bearer, talk, alice):
        content = "🎈" * 32_768
        body = json.dumps({"content": content}, ensure_ascii=True)
        answer = bearer(alice).post(path(talk, "/messages"), body, content_type="application/json")
        assert answer.status_code == 201
        assert answer.json()["content"] == content

    def test_strangers_get_the_answer_of_a_conversation_that_is_not_there(
        self, call_as, talk, carol, staff
    ):
        for person in (carol, staff):
            client = call_as(person)
            foreign = client.post(path(talk, "/messages"), {"content": "x"}, "json")
            missing = client.post(
                f"/api/conversations/{new_id()}/messages", {"content": "x"}, "json"
            )
            assert error(foreign) == (404, "not_found")
            assert foreign.json() == missing.json()
        assert not Message.objects.exists()

    def test_who_was_removed_posts_no_more(self, bearer, talk, bob):
        client = bearer(bob)
        assert client.post(path(talk, "/messages"), {"content": "x"}, "json").status_code == 201
        participant_remove(conversation=talk, username="bob")
        assert client.post(path(talk, "/messages"), {"content": "x"}, "json").status_code == 404


class TestHistory:
    def sequences(self, client, talk, **query):
        answer = client.get(path(talk, "/messages"), query)
        assert answer.status_code == 200, answer.json()
        body = answer.json()
        assert set(body) == {"messages", "has_more"}
        return [message["sequence"] for message in body["messages"]], body["has_more"]

    def test_an_empty_conversation_has_none(self, call_as, talk, alice):
        assert self.sequences(call_as(alice), talk) == ([], False)

    def test_pages_in_both_directions_and_from_the_end(self, bearer, talk, alice, bob):
        messages(talk, *[bob] * 10)
        client = bearer(alice)
        assert self.sequences(client, talk) == (list(range(1, 11)), False)
        assert self.sequences(client, talk, limit=3) == ([8, 9, 10], True)
        assert self.sequences(client, talk, limit=10) == (list(range(1, 11)), False)
        assert self.sequences(client, talk, before=8, limit=3) == ([5, 6, 7], True)
        assert self.sequences(client, talk, before=4, limit=3) == ([1, 2, 3], False)
        assert self.sequences(client, talk, after=2, limit=3) == ([3, 4, 5], True)
        assert self.sequences(client, talk, after=7, limit=3) == ([8, 9, 10], False)
        assert self.sequences(client, talk, after=0, limit=1) == ([1], True)
        assert self.sequences(client, talk, after=10) == ([], False)
        assert self.sequences(client, talk, after=2**53 - 1) == ([], False)
        assert self.sequences(client, talk, before=1) == ([], False)
        assert self.sequences(client, talk, before=0) == ([], False)

    def test_fifty_are_the_default_and_two_hundred_the_most(self, bearer, talk, alice, bob):
        messages(talk, *[bob] * 201)
        client = bearer(alice)
        assert self.sequences(client, talk) == (list(range(152, 202)), True)
        assert self.sequences(client, talk, limit=200, after=0) == (list(range(1, 201)), True)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"after": 1, "before": 2}, "before"),
            ({"limit": 0}, "limit"),
            ({"limit": 201}, "limit"),
            ({"limit": "x"}, "limit"),
            ({"after": -1}, "after"),
            ({"after": 2**53}, "after"),
            ({"before": "x"}, "before"),
            ({"before": ""}, "before"),
            ({"after": "1.5"}, "after"),
            ({"after": "9" * 2000}, "after"),
        ],
    )
    def test_wrong_queries_are_named(self, bearer, talk, alice, query, field):
        answer = bearer(alice).get(path(talk, "/messages"), query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert list(answer.json()["fields"]) == [field]

    def test_strangers_get_the_answer_of_a_conversation_that_is_not_there(
        self, call_as, talk, carol, staff
    ):
        for person in (carol, staff):
            client = call_as(person)
            foreign = client.get(path(talk, "/messages"))
            missing = client.get(f"/api/conversations/{new_id()}/messages")
            assert error(foreign) == (404, "not_found")
            assert foreign.json() == missing.json()

    def test_an_answer_ends_early_at_a_mebibyte_whichever_way(self, bearer, talk, alice, bob):
        messages(talk, *[bob] * 12)
        # 3 bytes each in UTF-8: 98,304 a message, so ten of them fit.
        Message.objects.update(content="名" * 32_768)
        client = bearer(alice)
        assert self.sequences(client, talk) == (list(range(3, 13)), True)
        assert self.sequences(client, talk, after=0) == (list(range(1, 11)), True)
        assert self.sequences(client, talk, after=2) == (list(range(3, 13)), False)
        assert self.sequences(client, talk, before=11) == (list(range(1, 11)), False)
        assert len(client.get(path(talk, "/messages")).content) < 1_048_576

    def test_a_page_costs_two_queries_however_many_wrote(
        self, talk, user, django_assert_num_queries
    ):
        messages(talk, *[user(f"user{number}") for number in range(20)], None)
        with django_assert_num_queries(2):
            page = selectors.history(conversation_id=str(talk.pk))
        senders = [record.sender and record.sender.username for record in page.messages]
        assert senders == [*[f"user{number}" for number in range(20)], None]

    def test_a_deleted_sender_is_null(self, bearer, talk, alice, bob):
        messages(talk, bob)
        bob.delete()
        body = bearer(alice).get(path(talk, "/messages")).json()
        assert body["messages"][0]["sender"] is None


def unread_by(user, talks) -> dict[str, int]:
    """conversation id → what a user has not read there."""
    found = conversation_news([str(talk.pk) for talk in talks], {str(user.pk)})
    return {news.conversation_id: news.unread[str(user.pk)] for news in found if news.unread}


class TestUnread:
    def test_it_is_counted_for_every_participant_at_once(
        self, talk, alice, bob, user, django_assert_num_queries
    ):
        from sessions_app.models import Participant

        people = [user(f"user{number}") for number in range(20)]
        for person in people:
            Participant.objects.create(conversation=talk, user=person)
        messages(talk, alice, bob, *people)
        Participant.objects.filter(user=bob).update(last_read_sequence=22)
        everybody = {str(person.pk) for person in (alice, bob, *people)}
        with django_assert_num_queries(3):
            [news] = conversation_news([str(talk.pk)], everybody)
        unread = news.unread
        assert unread.pop(str(bob.pk)) == 0
        assert set(unread.values()) == {21}
        assert len(unread) == 21

    def test_only_those_who_are_asked_for_are_counted(self, talk, alice, bob, carol):
        messages(talk, alice)
        [news] = conversation_news([str(talk.pk)], {str(bob.pk), str(carol.pk)})
        assert (news.title, news.last_sequence) == (talk.title, 1)
        assert news.unread == {str(bob.pk): 1}

    def test_it_is_counted_for_many_conversations_at_once(
        self, alice, bob, carol, django_assert_num_queries
    ):
        talks = [conversation_create(owner=alice, usernames=["bob"]) for _ in range(250)]
        for talk in talks[:3]:
            messages(talk, alice, bob, bob)
        ids = [str(talk.pk) for talk in talks]
        with django_assert_num_queries(2 * 2 + 1):
            counts = unread_by(alice, talks)
        assert [counts[key] for key in ids] == [2, 2, 2] + [0] * 247
        assert unread_by(carol, talks) == {}

    def test_more_positions_than_one_query_takes_are_counted_all_the_same(self, alice, bob):
        talks = [conversation_create(owner=alice, usernames=["bob"]) for _ in range(450)]
        for talk in talks:
            messages(talk, alice, bob)
        counts = unread_by(alice, talks)
        assert set(counts.values()) == {1}
        assert len(counts) == 450
