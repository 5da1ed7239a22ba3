"""Sessions, conversations and messages: what their pages say, find and allow."""

from __future__ import annotations

import pytest
from django.db import connection as database
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from sessions_app.models import Conversation, Message, Session
from tests.admin import rows
from tests.admin.pages import list_address, listed, page_address, text_of

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"


def test_a_session_shows_its_state_indented_and_escaped(admin: Browser) -> None:
    row = rows.make_session(state={"draft": SCRIPT, "tabs": [1], "words": "über"})
    page = admin.get(page_address(row)).content.decode()
    assert SCRIPT not in page
    assert "&quot;draft&quot;: &quot;&lt;script&gt;" in page
    assert "\n  &quot;words&quot;: &quot;über&quot;\n}" in page


def test_sessions_are_filtered_by_whether_they_have_expired(admin: Browser) -> None:
    valid, expired = rows.make_session(), rows.make_session(expires_at=rows.in_hours(-1))
    assert listed(admin, Session, expired="no") == [valid]
    assert listed(admin, Session, expired="yes") == [expired]
    assert "an hour ago" in text_of(admin, list_address(Session), expired="yes")
    assert 'alt="False"' in admin.get(page_address(expired)).content.decode()
    assert 'alt="True"' in admin.get(page_address(valid)).content.decode()


def test_sessions_are_found_by_id_client_and_user(admin: Browser) -> None:
    alice = rows.make_user("alice")
    row = rows.make_session(alice)
    rows.make_session()
    for text in (row.pk, row.client_id, alice.pk, "lic"):
        assert listed(admin, Session, q=str(text)) == [row]
    assert listed(admin, Session, user="alice") == [row]


def test_a_session_links_to_its_client_and_can_be_deleted(admin: Browser) -> None:
    row = rows.make_session()
    page = admin.get(page_address(row)).content.decode()
    assert f'href="/admin/connections/client/{row.client_id}/change/"' in page
    assert admin.post(page_address(row, "delete"), {"post": "yes"}).status_code == 302
    assert not Session.objects.exists()


def test_conversations_are_found_by_id_title_maker_and_participant(admin: Browser) -> None:
    row = rows.make_conversation("Trip to Lisbon")
    rows.make_conversation("Book club")
    owner, member = (one.user for one in row.participants.all())
    for text in (row.pk, owner.pk, "lisb", owner.username):
        assert listed(admin, Conversation, q=str(text)) == [row]
    assert listed(admin, Conversation, participant=member.username) == [row]


def test_a_conversation_shows_its_participants_and_newest_messages(admin: Browser) -> None:
    row = rows.make_conversation(participants=3)
    rows.make_message(row, content=SCRIPT)
    page = admin.get(page_address(row)).content.decode()
    for participant in row.participants.all():
        assert f'href="{page_address(participant.user)}"' in page
    for message in row.messages.all():
        assert f'href="{page_address(message)}"' in page
    assert SCRIPT not in page
    assert f'href="{list_address(Message)}?conversation={row.pk}">3</a>' in page


def test_a_conversation_page_is_bounded(admin: Browser) -> None:
    row = rows.make_conversation(participants=101, messages=51)
    page = admin.get(page_address(row)).content.decode()
    first, *_, last = row.messages.order_by("sequence")
    assert page_address(last) in page
    assert page_address(first) not in page
    shown = [p for p in row.participants.all() if page_address(p.user) in page]
    assert len(shown) == 100


def test_a_conversation_page_takes_as_many_queries_for_50_messages_as_for_5(
    admin: Browser,
) -> None:
    few, many = (rows.make_conversation(participants=n, messages=n) for n in (5, 50))
    admin.get(page_address(few))
    with CaptureQueriesContext(database) as for_few:
        admin.get(page_address(few))
    with CaptureQueriesContext(database) as for_many:
        admin.get(page_address(many))
    assert len(for_few) == len(for_many) <= 10


def test_neither_conversations_nor_messages_can_be_deleted(admin: Browser) -> None:
    row = rows.make_conversation()
    for one in (row, row.messages.get(sequence=1)):
        assert admin.post(page_address(one, "delete"), {"post": "yes"}).status_code == 403
    assert row.messages.count() == 2


def test_messages_are_found_by_content_id_conversation_and_sender(admin: Browser) -> None:
    conversation = rows.make_conversation(messages=0)
    rows.make_conversation()
    row = rows.make_message(conversation, content="Where is the Harbour?")
    assert row.sender is not None
    for text in (row.pk, conversation.pk, row.sender.pk, "the harb"):
        assert listed(admin, Message, q=str(text)) == [row]
    assert listed(admin, Message, sender=row.sender.username) == [row]
    assert listed(admin, Message, conversation=str(conversation.pk)) == [row]
    assert listed(admin, Message, q="harbour", role="assistant") == []


def test_messages_come_newest_first(admin: Browser) -> None:
    row = rows.make_conversation(messages=3)
    assert [message.sequence for message in listed(admin, Message)] == [3, 2, 1]
    assert [message.conversation for message in listed(admin, Message)] == [row] * 3


def test_a_list_shortens_content_and_a_page_shows_it_whole_and_escaped(admin: Browser) -> None:
    content = f"{SCRIPT} {'words ' * 50}the end"
    row = rows.make_message(rows.make_conversation(messages=0), content=content)
    short, whole = (
        admin.get(a).content.decode() for a in (list_address(Message), page_address(row))
    )
    assert "&lt;script&gt;" in short
    assert "the end" not in short
    assert "the end" in whole
    assert SCRIPT not in short + whole
    assert "&quot;number&quot;: " in whole
