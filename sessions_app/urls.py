"""Addresses of conversations, messages and sessions: exact, without a slash at the end."""

from __future__ import annotations

from django.urls import path

from sessions_app import views

_CONVERSATION = "api/conversations/<id:conversation_id>"

urlpatterns = [
    path("api/conversations", views.ConversationsView.as_view(), name="conversations"),
    path(_CONVERSATION, views.ConversationView.as_view(), name="conversation"),
    path(f"{_CONVERSATION}/messages", views.MessagesView.as_view(), name="messages"),
    path(f"{_CONVERSATION}/participants", views.ParticipantsView.as_view(), name="participants"),
    path(
        f"{_CONVERSATION}/participants/<str:username>",
        views.ParticipantView.as_view(),
        name="participant",
    ),
    path("api/sessions", views.SessionsView.as_view(), name="sessions"),
    path("api/sessions/<id:session_id>", views.SessionView.as_view(), name="session"),
]
