"""REST of connections: statistics, cleanup, ending one, a client's own; and the metrics."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from connections import selectors
from connections.close_codes import CloseCode
from connections.manager import websocket_manager
from connections.permissions import IsStaff, MayReadMetrics, MetricsTokenAuthentication
from connections.serializers import (
    CleanupQuerySerializer,
    CleanupSerializer,
    ClientConnectionsSerializer,
    StatsSerializer,
)
from ovara.accounts.authentication import BearerAuthentication, BrowserSessionAuthentication
from ovara.schema import errors


class StatsView(APIView):
    """Statistics."""

    permission_classes = (IsStaff,)

    @extend_schema(
        operation_id="connection_stats",
        tags=["connections"],
        responses={200: StatsSerializer} | errors(401, 403),
    )
    def get(self, request: Request) -> Response:
        """Who is connected, in the whole cluster; at most one second old. Staff only."""
        return Response(websocket_manager.sync.get_connection_stats())


class CleanupView(APIView):
    """Cleanup."""

    permission_classes = (IsStaff,)

    @extend_schema(
        operation_id="connection_cleanup",
        tags=["connections"],
        request=None,
        parameters=[CleanupQuerySerializer],
        responses={200: CleanupSerializer} | errors(400, 401, 403),
    )
    def post(self, request: Request) -> Response:
        """Close the connections that were inactive for so long, on every node. Staff only."""
        query = CleanupQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        minutes: float = query.validated_data["max_inactive_minutes"]
        closed = websocket_manager.sync.cleanup_inactive_connections(
            max_inactive_minutes=minutes, dry_run=query.validated_data["dry_run"]
        )
        # 30 rather than 30.0, as it was most likely written.
        shown = int(minutes) if minutes.is_integer() else minutes
        return Response({"closed": closed, "max_inactive_minutes": shown})


class ConnectionView(APIView):
    """One connection."""

    permission_classes = (IsStaff,)

    @extend_schema(
        operation_id="connection_disconnect",
        tags=["connections"],
        responses={202: OpenApiResponse(description="It is being closed.")} | errors(401, 403, 404),
    )
    def delete(self, request: Request, connection_id: str) -> Response:
        """End a connection with 4510, whichever node holds it. Staff only."""
        code = CloseCode.DISCONNECTED
        if not websocket_manager.sync.disconnect(connection_id, code=code, reason=code.reason):
            raise Http404
        return Response(status=202)


class ClientConnectionsView(APIView):
    """A client's connections."""

    @extend_schema(
        operation_id="client_connections",
        tags=["connections"],
        responses={200: ClientConnectionsSerializer} | errors(401, 404),
    )
    def get(self, request: Request, client_id: str) -> Response:
        """The live connections of a client, for its user or staff."""
        client = selectors.client_find(client_id)
        user = request.user
        if client is None or not (user.is_staff or client.user_id == user.pk):
            raise Http404
        owner = {"id": str(client.user_id), "username": client.user.username}
        connections = selectors.client_connections(client_id)
        return Response({"client_id": client_id, "user": owner, "connections": connections})


class MetricsView(APIView):
    """Metrics."""

    authentication_classes = (
        MetricsTokenAuthentication,
        BearerAuthentication,
        BrowserSessionAuthentication,
    )
    permission_classes = (MayReadMetrics,)

    @extend_schema(
        operation_id="metrics",
        tags=["health"],
        responses={(200, "text/plain"): OpenApiTypes.STR} | errors(401, 403),
    )
    def get(self, request: Request) -> HttpResponse:
        """This process's metrics, as Prometheus reads them."""
        return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
