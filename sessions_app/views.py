"""REST of conversations, participants, messages and sessions: doors to services and selectors."""

from __future__ import annotations

from typing import Any

import msgspec
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ovara.accounts.authentication import caller
from ovara.background import run
from ovara.schema import errors
from sessions_app import selectors, serializers, services
from sessions_app.journal import post
from sessions_app.models import Conversation, Session
from sessions_app.records import UserRef


def one_conversation(request: Request, conversation_id: str) -> Conversation:
    """The conversation, or NotFound where the caller has no part in it."""
    return selectors.conversation_for(user=caller(request), conversation_id=conversation_id)


def conversation_body(request: Request, conversation: Conversation) -> dict[str, Any]:
    """The conversation as the caller sees it."""
    (detail,) = selectors.conversation_details(
        conversations=[conversation], user_id=str(caller(request).pk)
    )
    return serializers.ConversationSerializer(detail).data


class ConversationsView(GenericAPIView[Conversation]):
    """The caller's conversations."""

    serializer_class = serializers.ConversationSerializer

    @extend_schema(
        operation_id="conversation_list",
        tags=["conversations"],
        responses={200: serializers.ConversationSerializer(many=True)} | errors(400, 401, 404),
    )
    def get(self, request: Request) -> Response:
        """Those in which the caller has a part, the most recent first."""
        user = caller(request)
        pages: Any = selectors.ConversationPages(user)
        page = self.paginate_queryset(pages)
        details = selectors.conversation_details(conversations=page or [], user_id=str(user.pk))
        return self.get_paginated_response(self.get_serializer(details, many=True).data)

    @extend_schema(
        operation_id="conversation_create",
        tags=["conversations"],
        request=serializers.ConversationCreateSerializer,
        responses={201: serializers.ConversationSerializer} | errors(400, 401, 403, 415),
    )
    def post(self, request: Request) -> Response:
        """Start one; the caller is its owner."""
        body = _checked(serializers.ConversationCreateSerializer(data=request.data))
        conversation = services.conversation_create(
            owner=caller(request),
            title=body.get("title") or "",
            usernames=body.get("participants") or (),
        )
        return Response(conversation_body(request, conversation), status=201)


class ConversationView(APIView):
    """One conversation."""

    @extend_schema(
        operation_id="conversation_get",
        tags=["conversations"],
        responses={200: serializers.ConversationSerializer} | errors(401, 404),
    )
    def get(self, request: Request, conversation_id: str) -> Response:
        """The conversation, for its participants."""
        return Response(conversation_body(request, one_conversation(request, conversation_id)))

    @extend_schema(
        operation_id="conversation_rename",
        tags=["conversations"],
        request=serializers.ConversationRenameSerializer,
        responses={200: serializers.ConversationSerializer} | errors(400, 401, 403, 404, 415),
    )
    def patch(self, request: Request, conversation_id: str) -> Response:
        """Give it another title; its owner may."""
        body = _checked(serializers.ConversationRenameSerializer(data=request.data))
        conversation = one_conversation(request, conversation_id)
        services.conversation_rename(
            conversation=conversation, title=body["title"], actor=caller(request)
        )
        return Response(conversation_body(request, conversation))


class ParticipantsView(APIView):
    """Who takes part."""

    @extend_schema(
        operation_id="participant_add",
        tags=["conversations"],
        request=serializers.ParticipantAddSerializer,
        responses={
            200: OpenApiResponse(serializers.ParticipantSerializer, "Had a part already."),
            201: OpenApiResponse(serializers.ParticipantSerializer, "Was brought in."),
        }
        | errors(400, 401, 403, 404, 415),
    )
    def post(self, request: Request, conversation_id: str) -> Response:
        """Bring a user in; the owner may."""
        body = _checked(serializers.ParticipantAddSerializer(data=request.data))
        participant, is_new = services.participant_add(
            conversation=one_conversation(request, conversation_id),
            username=body["username"],
            actor=caller(request),
        )
        answer = serializers.ParticipantSerializer(participant).data
        return Response(answer, status=201 if is_new else 200)


class ParticipantView(APIView):
    """One participant."""

    @extend_schema(
        operation_id="participant_remove",
        tags=["conversations"],
        responses={204: None} | errors(401, 403, 404),
    )
    def delete(self, request: Request, conversation_id: str, username: str) -> Response:
        """Take a user's part away; the owner may, and a member may leave."""
        services.participant_remove(
            conversation=one_conversation(request, conversation_id),
            username=username,
            actor=caller(request),
        )
        return Response(status=204)


class MessagesView(APIView):
    """A conversation's messages."""

    @extend_schema(
        operation_id="message_list",
        tags=["messages"],
        parameters=[serializers.HistorySerializer],
        responses={200: serializers.MessagePageSerializer} | errors(400, 401, 404),
    )
    def get(self, request: Request, conversation_id: str) -> Response:
        """Messages in rising sequence, after or before one, or the newest."""
        wanted = _checked(serializers.HistorySerializer(data=request.query_params.dict()))
        conversation = one_conversation(request, conversation_id)
        page = selectors.history(conversation_id=str(conversation.pk), **wanted)
        return Response(msgspec.to_builtins(page))

    @extend_schema(
        operation_id="message_post",
        tags=["messages"],
        request=serializers.MessagePostSerializer,
        responses={
            200: OpenApiResponse(serializers.MessageSerializer, "Had been stored before."),
            201: OpenApiResponse(serializers.MessageSerializer, "Stored, and on its way."),
        }
        | errors(400, 401, 403, 404, 415),
    )
    def post(self, request: Request, conversation_id: str) -> Response:
        """Send a message, the same way as a `message` frame."""
        body = _checked(serializers.MessagePostSerializer(data=request.data))
        user = caller(request)
        appended = run(
            post(
                conversation_id=conversation_id,
                content=body["content"],
                sender=UserRef(str(user.pk), user.username),
                client_message_id=body.get("client_message_id"),
                metadata=body.get("metadata"),
                require_participant=True,
            )
        )
        status = 200 if appended.duplicate else 201
        return Response(msgspec.to_builtins(appended.message), status=status)


class SessionsView(GenericAPIView[Session]):
    """Sessions."""

    serializer_class = serializers.SessionSerializer

    @extend_schema(
        operation_id="session_list",
        tags=["sessions"],
        responses={200: serializers.SessionSerializer(many=True)} | errors(400, 401, 404),
    )
    def get(self, request: Request) -> Response:
        """One's own, or for staff all, the most recently used first."""
        page = self.paginate_queryset(selectors.sessions_visible_to(caller(request)))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class SessionView(APIView):
    """One session."""

    @extend_schema(
        operation_id="session_get",
        tags=["sessions"],
        responses={200: serializers.SessionSerializer} | errors(401, 404),
    )
    def get(self, request: Request, session_id: str) -> Response:
        """The session, for its user or staff."""
        session = selectors.sessions_visible_to(caller(request)).filter(pk=session_id).first()
        if session is None:
            raise Http404
        return Response(serializers.SessionSerializer(session).data)


def _checked(serializer: Any) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values
