"""The admin's lists: pages, filters, searches."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.test import Client as Browser

from connections.models import Client, Connection
from sessions_app.models import Conversation, Message, Session
from tests.admin.pages import listed
from tests.stores.calls.calls import Calls
from tests.support.crowd import RARE, Crowd

CALLS = Calls()


def _signed_in(crowd: Crowd) -> Browser:
    browser = Browser()
    browser.force_login(crowd.staff)
    return browser


def _admin(name: str, model: type[Model], **query: Any) -> None:
    def call(crowd: Crowd) -> None:
        values = {key: value(crowd) if callable(value) else value for key, value in query.items()}
        assert listed(_signed_in(crowd), model, **values) or "q" in query

    CALLS[f"{model.__name__} {name}"] = call


for _model in (Message, Connection, Session, Conversation, Client):
    _admin("first page", _model)
    _admin("third page", _model, p=3)
_admin("searched", Message, q=RARE)
_admin("of a conversation", Message, conversation=lambda crowd: crowd.giant)
_admin("by conversation id", Message, q=lambda crowd: crowd.giant)
_admin("of a sender", Message, sender="user0")
_admin("by role", Message, role="user")
_admin("live", Connection, state="live")
_admin("closed", Connection, state="closed")
_admin("of a node", Connection, node=lambda crowd: crowd.nodes[0])
_admin("of a user", Connection, user="user0")
_admin("by user name", Connection, q="user0")
_admin("by address", Connection, q="10.0.0.")
_admin("by session id", Connection, q=lambda crowd: crowd.session)
_admin("of a user", Session, user="user0")
_admin("by user name", Session, q="user0")
_admin("expired", Session, expired="yes")
_admin("not expired", Session, expired="no")
_admin("of a participant", Conversation, participant="user0")
_admin("by title", Conversation, q="talk 1")
_admin("of a user", Client, user="user0")
